// The microphone as an anywidget: one channel, recorded between two clicks and sent to Python as
// 16-bit samples in one message. microphone.js stands before it.

const UPDATE = 0.1; // s; between two looks at the level

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
