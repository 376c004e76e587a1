// The microphone through Python and back, as an anywidget. Blocks of 32-bit samples go as binary
// messages; Python answers each, in their order. microphone.js stands before it.

const IN_FLIGHT = 8; // blocks under way to Python and back at most; then new ones are dropped
const MARGIN = 0.08; // s between the first answer and its playing: later ones may take longer

function render({ model, el }) {
  let run = null; // from Start to Stop
  const button = document.createElement("button");
  const listen = document.createElement("input");
  const label = document.createElement("label");
  const status = document.createElement("div");
  button.className = "lm-Widget jupyter-widgets jupyter-button widget-button";
  listen.type = "checkbox";
  label.append(listen, " Listen (put headphones on)");
  label.style.marginLeft = "8px";
  status.style.minHeight = "1.5em";
  status.setAttribute("role", "status");

  function show(text) {
    button.textContent = run ? "Stop" : "Start";
    status.textContent = text;
  }

  function numbers() {
    const [stream, trip, heard] = [run.latency, run.trip, run.heard].map((s) => Math.round(1000 * s));
    return `Latency: stream ${stream} ms, Python and back ${trip} ms, heard after ${heard} ms. ` +
      `${run.answers} blocks, ${run.late} late, ${run.dropped} dropped.`;
  }

  function onSamples(samples) {
    if (!run?.block) return; // Python is not ready yet
    for (const value of samples) {
      run.block[run.filled++] = value;
      if (run.filled === run.block.length) sendBlock();
    }
  }

  function sendBlock() {
    const block = run.block;
    Object.assign(run, { block: new Float32Array(block.length), filled: 0 });
    if (run.sent.length < IN_FLIGHT) {
      run.sent.push(run.mic.context.currentTime);
      model.send({ dropped: run.dropped }, undefined, [block.buffer]);
    } else run.dropped++;
  }

  function play({ buffer, byteOffset, byteLength }) {
    const samples = new Float32Array(buffer.slice(byteOffset, byteOffset + byteLength));
    const sound = new AudioBuffer({ length: samples.length, sampleRate: run.mic.rate });
    const source = new AudioBufferSourceNode(run.mic.context, { buffer: sound });
    const [now, sent] = [run.mic.context.currentTime, run.sent.shift()];
    if (run.at < now) {
      if (run.answers) run.late++; // it should be playing already
      run.at = now + MARGIN;
    }
    sound.copyToChannel(samples, 0);
    source.connect(run.loudness);
    source.start(run.at);
    run.trip = now - sent;
    run.heard = run.latency + sound.duration + run.at - sent;
    run.at += sound.duration;
    if (run.answers++ % 10 === 0) show(numbers());
  }

  function onMessage(message, buffers) {
    if (!run) return;
    if (message.error) stop(`Stopped: ${message.error}`);
    else if (message.size) {
      Object.assign(run, { block: new Float32Array(message.size), latency: message.latency });
    } else if (run.block) play(buffers[0]);
  }

  async function start() {
    button.disabled = true;
    try {
      const mic = await microphone(onSamples);
      const loudness = new GainNode(mic.context, { gain: Number(listen.checked) });
      loudness.connect(mic.context.destination);
      run = { mic, loudness, filled: 0, sent: [], answers: 0, late: 0, dropped: 0, at: 0 };
      show("Python prepares the stream ...");
      model.send({ rate: mic.rate, dropped: 0 });
    } catch (error) {
      show(`No microphone: ${error.message}`);
    }
    button.disabled = false;
  }

  function stop(text) {
    const last = text ?? (run.answers ? numbers() : "");
    run.mic.stop();
    model.send({ dropped: run.dropped });
    run = null;
    show(last);
  }

  button.addEventListener("click", () => (run ? stop() : start()));
  listen.addEventListener("change", () => {
    if (run) run.loudness.gain.value = Number(listen.checked);
  });
  model.on("msg:custom", onMessage);
  show("");
  el.append(button, label, status);
  return () => {
    model.off("msg:custom", onMessage);
    if (run) stop();
  };
}

export default { render };
