// The microphone, one channel; what stands before recorder.js and live.js. It loads nothing: the
// worklet is part of this file.

const WORKLET = `registerProcessor("vaerecon-microphone", class extends AudioWorkletProcessor {
  process([[samples]]) {
    if (samples) this.port.postMessage(samples.slice());
    return true;
  }
});`;

// Calls onBlock with every block of samples, -1..1. Gives the AudioContext, its rate
// (Hz), and a function to stop both.
async function microphone(onBlock) {
  if (!navigator.mediaDevices) {
    throw new Error("browsers give the microphone to pages on https or localhost only");
  }
  // what a telephone needs would change the sound
  const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  const stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1, ...plain } });
  const context = new AudioContext();
  const stop = () => {
    for (const track of stream.getTracks()) track.stop();
    context.close();
  };
  try {
    const address = URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" }));
    await context.audioWorklet.addModule(address);
    URL.revokeObjectURL(address);
    const one = { channelCount: 1, channelCountMode: "explicit" };
    const node = new AudioWorkletNode(context, "vaerecon-microphone", one);
    node.port.onmessage = ({ data }) => onBlock(data);
    // to the loudspeaker goes silence: the worklet runs only if something asks for its output
    context.createMediaStreamSource(stream).connect(node).connect(context.destination);
    await context.resume();
  } catch (error) {
    stop();
    throw error;
  }
  return { context, rate: context.sampleRate, stop };
}
