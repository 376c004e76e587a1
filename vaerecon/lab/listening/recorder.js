// The microphone as an anywidget: one channel, recorded between two clicks and sent to Python as
// 16-bit samples in one message. It loads nothing; the worklet is part of this file.

const WORKLET = `registerProcessor("vaerecon-microphone", class extends AudioWorkletProcessor {
  process([[samples]]) {
    if (samples) this.port.postMessage(samples.slice());
    return true;
  }
});`;
const UPDATE = 0.1; // s; between two looks at the level

// Calls onBlock with every block of samples, -1..1. Gives the rate (Hz), and a function to stop it.
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
  return { rate: context.sampleRate, stop };
}

function render({ model, el }) {
  let mic = null; // while it records
  let [blocks, count, peak, shown] = [[], 0, 0, 0];
  const button = document.createElement("button");
  const level = document.createElement("meter");
  const status = document.createElement("span");
  button.className = "lm-Widget jupyter-widgets jupyter-button widget-button";
  level.setAttribute("aria-label", "Level of the microphone, dB");
  Object.assign(level, { min: -60, max: 0, low: -40, high: -1, optimum: -12, hidden: true });
  status.setAttribute("role", "status");
  status.style.margin = "0 8px";

  function show(text = "") {
    button.textContent = mic ? "Stop" : "Record";
    level.hidden = !mic;
    status.textContent = text;
  }

  function onBlock(block) {
    if (!mic) return;
    blocks.push(block);
    count += block.length;
    peak = Math.max(peak, ...block.map(Math.abs));
    if (count >= model.get("longest") * mic.rate) return finish();
    if (count - shown < UPDATE * mic.rate) return;
    level.value = 20 * Math.log10(peak + 1e-6);
    show(`${(count / mic.rate).toFixed(1)} s`);
    [peak, shown] = [0, count];
  }

  async function start() {
    [blocks, count, peak, shown] = [[], 0, 0, 0];
    button.disabled = true;
    try {
      mic = await microphone(onBlock);
      show("0.0 s");
    } catch (error) {
      show(`No recording: ${error.message}`);
    }
    button.disabled = false;
  }

  function finish() {
    const { rate, stop } = mic;
    stop();
    mic = null;
    show();
    const samples = new Int16Array(count);
    let at = 0;
    for (const block of blocks) {
      for (const value of block) samples[at++] = 32767 * Math.min(1, Math.max(-1, value));
    }
    if (count) model.send({ rate }, undefined, [samples.buffer]);
  }

  button.addEventListener("click", () => (mic ? finish() : start()));
  show();
  el.style.display = "flex";
  el.style.alignItems = "center";
  el.append(button, level, status);
  return () => mic?.stop();
}

export default { render };
