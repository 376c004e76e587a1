// The A/B player: a plain ES module for anywidget. It loads nothing and needs no build step.
//
// All tracks start together and run in step, each behind its own gain; switching turns one gain
// up and the others down within FADE, so the playhead never moves. Python (player.py) sends
//   labels, gains, lufs, note, title  text, always set as text, never as HTML
//   pcm         16-bit samples, the tracks one after the other; sample_rate
//   picture     log-mels as bytes, [track][frame][bin], one colour scale for all; n_mels, ticks
//               (empty while a player is blind: eyes would answer for the ears)
//   version     counts up when there are new tracks
// and gets back `revealed` and `choice`. The element carries data-playhead (seconds),
// data-active (label) and data-state (playing, paused), for scripts and tests.

const FADE = 0.008; // s; between tracks, and in and out at start, stop and seek: no clicks
const LEAD = 0.015; // s; from the call to the first sample, so that all sources start together
const SHORTEST_LOOP = 0.05; // s
const SHORTEST_VIEW = 0.1; // s; of the zoom
const WAVE = "#3d85c6"; // 3:1 against white and against black
const KEYS = "Space: play. 1-9: switch. Left, right: seek. Drag, or [ and ]: loop region. L: loop. " +
  "+ and -: zoom.";

// Magma in 17 steps (matplotlib), from quiet to loud; in between linearly.
const MAGMA = [
  0x000004, 0x0a0822, 0x1d1147, 0x36106b, 0x51127c, 0x6a1c81, 0x832681, 0x9c2e7f, 0xb73779,
  0xd0416f, 0xe75263, 0xf56b5c, 0xfc8961, 0xfea772, 0xfec488, 0xfde2a3, 0xfcfdbf,
];

const PALETTE = Array.from({ length: 256 }, (_, level) => {
  const x = (level / 255) * 16;
  const [low, high] = [MAGMA[Math.floor(x)], MAGMA[Math.ceil(x)]];
  const rgb = [16, 8, 0].map((shift) => {
    const [a, b] = [(low >> shift) & 255, (high >> shift) & 255];
    return Math.round(a + (b - a) * (x % 1));
  });
  return [...rgb, 255];
});

// An element with attributes, listeners (functions) and children (elements or text).
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") node.addEventListener(name, value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

// A WAV file, 16 bits, one channel. The words of the header are little-endian, as the samples are.
function wavFile(samples, rate) {
  const size = 2 * samples.length;
  const [riff, wave, format, data] = [0x46464952, 0x45564157, 0x20746d66, 0x61746164];
  const head = [riff, 36 + size, wave, format, 16, 0x10001, rate, 2 * rate, 0x100002, data, size];
  return new Blob([new Uint32Array(head), samples], { type: "audio/wav" });
}

// One audio context per rate, shared by all players on the page. It runs at the rate of the
// sound: the browser then resamples its output once and well, where a buffer source of another
// rate may be interpolated linearly, which adds images above 8 kHz.
function audioContext(rate) {
  const shared = (globalThis[Symbol.for("vaerecon.audio")] ??= new Map());
  if (!shared.has(rate)) {
    let context;
    try {
      context = new AudioContext({ sampleRate: rate });
    } catch {
      context = new AudioContext(); // a rate that this browser does not run at
    }
    shared.set(rate, context);
  }
  return shared.get(rate);
}

// Bring a gain to another value within FADE, from what it is now.
function fade({ gain, context }, value) {
  const now = context.currentTime;
  gain.cancelScheduledValues(now).setValueAtTime(gain.value, now);
  gain.linearRampToValueAtTime(value, now + FADE);
}

// Sound without a face: tracks of one length, a playhead, an active track, a loop.
class Engine {
  constructor(changed) {
    this.changed = changed; // called when it starts or stops
    this.run = null; // what sounds now: {when, offset, loop, bus, sources, gains}
    this.wanted = false; // play was asked for, though the context may still be waking up
    this.volume = 1; // 0..1
    this.load([], 16000);
  }

  load(tracks, rate) {
    this.pause();
    Object.assign(this, { tracks, rate, buffers: null, active: 0, position: 0 });
    Object.assign(this, { looping: false, region: null, duration: (tracks[0]?.length ?? 0) / rate });
  }

  get loop() {
    return this.looping ? (this.region ?? [0, this.duration]) : null;
  }

  get playhead() {
    if (!this.run) return this.position;
    const { when, offset, loop, context } = this.run;
    const now = offset + Math.max(0, context.currentTime - when);
    if (!loop || now < loop[1]) return Math.min(now, this.duration);
    return loop[0] + ((now - loop[0]) % (loop[1] - loop[0]));
  }

  async play() {
    this.wanted = true;
    const context = audioContext(this.rate);
    await context.resume(); // browsers start it silent until the first click or key
    if (!this.wanted || this.run) return;
    document.dispatchEvent(new CustomEvent("vaerecon-play", { detail: this }));
    this.buffers ??= this.tracks.map((samples) => {
      const buffer = context.createBuffer(1, samples.length, this.rate);
      buffer.copyToChannel(Float32Array.from(samples, (value) => value / 32767), 0);
      return buffer;
    });
    this.start(context);
  }

  start(context) {
    const { loop } = this;
    if (loop && (this.position < loop[0] || this.position >= loop[1])) this.position = loop[0];
    const when = context.currentTime + LEAD;
    const bus = new GainNode(context, { gain: 0 });
    bus.gain.setValueAtTime(0, when).linearRampToValueAtTime(1, when + FADE);
    const out = new GainNode(context, { gain: this.volume });
    bus.connect(out).connect(context.destination);
    const gains = this.buffers.map((_, i) => new GainNode(context, { gain: +(i === this.active) }));
    const sources = this.buffers.map((buffer, i) => {
      const source = new AudioBufferSourceNode(context, { buffer, loop: loop !== null });
      if (loop) [source.loopStart, source.loopEnd] = loop;
      source.connect(gains[i]).connect(bus);
      source.start(when, this.position);
      return source;
    });
    const run = { context, when, offset: this.position, loop, bus, out, sources, gains };
    sources[0].onended = () => this.run === run && this.pause(0); // the end: back to the start
    this.run = run;
    this.changed();
  }

  // Stop, here or at a given time. What sounds fades out behind its own bus.
  pause(position = this.playhead) {
    this.wanted = false;
    this.position = position;
    if (!this.run) return;
    const { context, bus, sources } = this.run;
    this.run = null;
    fade(bus, 0);
    for (const source of sources) source.stop(context.currentTime + FADE);
    sources[0].onended = () => bus.disconnect();
    this.changed();
  }

  // Go on from another place, or with another loop, without a gap to be heard.
  restart(position = this.playhead) {
    const { run, wanted } = this;
    this.pause(Math.min(Math.max(position, 0), this.duration));
    this.wanted = wanted;
    if (run) this.start(run.context);
  }

  setVolume(volume) {
    this.volume = volume;
    if (this.run) fade(this.run.out, volume);
  }

  select(track) {
    this.active = track;
    this.run?.gains.forEach((gain, i) => fade(gain, +(i === track)));
  }
}

function render({ model, el }) {
  const get = (name) => model.get(name);
  const label = () => get("labels")[engine.active];
  const say = (text) => (status.textContent = text);
  const press = () => (engine.wanted ? engine.pause() : play());
  let frame = 0; // the next call of tick
  let version = -1; // of the tracks that are loaded
  let view = [0, 1]; // s; what the pictures show

  // --- the parts ---
  const title = make("div", { class: "vp-title" });
  const playButton = make("button", { class: "vp-play", click: press });
  const loopButton = make("button", { click: toggleLoop }, "Loop");
  const time = make("span", { class: "vp-time" });
  const volume = make("input", {
    ...{ type: "range", min: 0, max: 100, value: 100, "aria-label": "Volume", title: "Volume" },
    input: () => engine.setVolume((volume.value / 100) ** 2),
  });
  const tool = (text, name, click) =>
    make("button", { "aria-label": name, title: name, click }, text);
  const zoomOut = tool("\u2212", "Zoom out", () => zoom(2));
  const zoomIn = tool("+", "Zoom in", () => zoom(1 / 2));
  const save = tool("\u2913", "Download the sound as a WAV file", download);
  const tools = make("div", { class: "vp-tools" }, zoomOut, zoomIn, save, "Volume", volume);
  const tracks = make("div", { class: "vp-tracks", role: "group", "aria-label": "Sounds" });
  const wave = make("canvas", { class: "vp-wave" });
  const mel = make("canvas", { class: "vp-mel" });
  const ticks = make("div", { class: "vp-ticks", "aria-hidden": "true" });
  const region = make("div", { class: "vp-region" });
  const cursor = make("div", { class: "vp-cursor" });
  const picture = make(
    "div",
    { class: "vp-picture", role: "slider", tabindex: 0, "aria-label": "Playhead", pointerdown: drag },
    wave, mel, ticks, region, cursor,
  );
  const seconds = make("div", { class: "vp-seconds", "aria-hidden": "true" });
  const note = make("div", { class: "vp-note" });
  const prefer = make("button", { click: choose });
  const rating = make("select", { "aria-label": "Rating, optional" });
  rating.append(make("option", { value: "" }, "no rating"));
  for (const n of [5, 4, 3, 2, 1]) rating.append(make("option", { value: n }, `rating ${n} of 5`));
  const show = () => send("revealed", true);
  const reveal = make("button", { class: "vp-reveal", click: show }, "Reveal names");
  const status = make("span", { class: "vp-status", role: "status" });
  const root = make(
    "div",
    {
      class: "vaerecon-player",
      role: "group",
      tabindex: -1,
      // JupyterLab would take the keys 1-6, l and space for its own commands
      "data-lm-suppress-shortcuts": "true",
      keydown: onKey,
      // space must not press the focused button as well, when it is let go
      keyup: (event) => event.key === " " && !ownKeys(event.target) && event.preventDefault(),
    },
    title,
    make("div", { class: "vp-bar" }, playButton, loopButton, time, tools),
    make("div", { class: "vp-bar" }, tracks),
    picture,
    seconds,
    make("div", { class: "vp-bar vp-below" }, prefer, rating, reveal, status),
    note,
    make("div", { class: "vp-note" }, KEYS),
  );
  const engine = new Engine(() => {
    playButton.textContent = engine.run ? "Pause" : "Play";
    root.dataset.state = engine.run ? "playing" : "paused";
    // others can stop this one while it plays; no listener is left behind when it is taken away
    document[engine.run ? "addEventListener" : "removeEventListener"]("vaerecon-play", onOther);
    cancelAnimationFrame(frame);
    tick();
  });

  function onOther({ detail }) {
    if (detail !== engine) engine.pause();
  }

  // --- what is shown ---
  function tick() {
    if (engine.run && !root.isConnected) engine.pause(); // the output was cleared
    const now = engine.playhead;
    const text = `${now.toFixed(2)} s of ${engine.duration.toFixed(2)} s`;
    root.dataset.playhead = now.toFixed(3);
    time.textContent = text;
    if (now < view[0] || now > view[1]) setView(now, now + view[1] - view[0]); // turn the page
    cursor.style.left = `${percent(now)}%`;
    // for screen readers: once a second while it plays, not at every frame
    if (!engine.run || Math.abs(now - picture.getAttribute("aria-valuenow")) >= 1) {
      picture.setAttribute("aria-valuenow", now.toFixed(2));
      picture.setAttribute("aria-valuetext", text);
    }
    if (engine.run) frame = requestAnimationFrame(tick);
  }

  function showLoop() {
    loopButton.setAttribute("aria-pressed", engine.looping);
    const [from, to] = engine.region ?? [0, 0];
    region.hidden = !engine.region;
    region.classList.toggle("vp-off", !engine.looping);
    const [left, right] = [from, to].map((t) => Math.min(100, Math.max(0, percent(t))));
    region.style.left = `${left}%`;
    region.style.width = `${right - left}%`;
    root.dataset.loop = engine.loop ? engine.loop.map((t) => t.toFixed(3)).join(" ") : "";
  }

  function percent(t) {
    return (100 * (t - view[0])) / (view[1] - view[0] || 1);
  }

  function setView(from, to) {
    const width = Math.min(engine.duration, Math.max(SHORTEST_VIEW, to - from));
    const start = Math.min(Math.max(0, from), engine.duration - width);
    view = [start, start + width];
    root.dataset.view = view.map((t) => t.toFixed(3)).join(" ");
    zoomOut.disabled = width >= engine.duration;
    zoomIn.disabled = width <= SHORTEST_VIEW;
    const step = [0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60].find((s) => width / s <= 8) ?? 300;
    seconds.replaceChildren();
    for (let i = Math.ceil(view[0] / step - 1e-6); i * step <= view[1] + 1e-6; i++) {
      const left = `left:${percent(i * step)}%`;
      seconds.append(make("span", { style: left }, `${+(i * step).toFixed(2)} s`));
    }
    cursor.style.left = `${percent(engine.playhead)}%`;
    showLoop();
    draw();
  }

  // Show more or less of the time; the playhead stays where it is.
  function zoom(factor) {
    const now = engine.playhead;
    setView(...view.map((t) => now + (t - now) * factor));
  }

  function showTracks() {
    title.textContent = get("title");
    root.setAttribute("aria-label", `Sound player ${get("title")}`);
    tracks.replaceChildren(
      ...get("labels").map((name, i) =>
        make(
          "button",
          { click: () => select(i), ...(i < 9 && { "aria-keyshortcuts": i + 1 }) },
          make("span", { class: "vp-key", "aria-hidden": "true" }, i < 9 ? `${i + 1}` : ""),
          name,
          make("span", { class: "vp-gain" }, get("gains")[i] ?? ""),
        ),
      ),
    );
    ticks.replaceChildren(
      ...get("ticks").map(([text, height]) => make("span", { style: `bottom:${100 * height}%` }, text)),
    );
    prefer.hidden = rating.hidden = !get("asks");
    reveal.hidden = !get("can_reveal") || get("revealed");
    root.classList.toggle("vp-blind", !get("picture").byteLength);
    select(engine.active);
  }

  function draw() {
    const dots = globalThis.devicePixelRatio || 1;
    const bytes = get("picture");
    const size = bytes.byteLength / get("labels").length;
    if (!size || !picture.clientWidth) return;
    for (const canvas of [wave, mel]) {
      canvas.width = Math.round(canvas.clientWidth * dots);
      canvas.height = Math.round(canvas.clientHeight * dots);
    }
    drawWave(wave, engine.tracks[engine.active]);
    drawMel(mel, new Uint8Array(bytes.buffer, bytes.byteOffset + engine.active * size, size));
  }

  function drawWave(canvas, samples) {
    const [pen, { width, height }] = [canvas.getContext("2d"), canvas];
    const at = (x) => Math.floor((view[0] + (x / width) * (view[1] - view[0])) * engine.rate);
    pen.fillStyle = WAVE;
    for (let x = 0; x < width; x++) {
      const from = at(x);
      const to = Math.max(from + 1, at(x + 1));
      let [low, high] = [32767, -32767];
      for (let i = from; i < to; i++) {
        if (samples[i] < low) low = samples[i];
        if (samples[i] > high) high = samples[i];
      }
      const [top, bottom] = [high, low].map((v) => ((1 - v / 32767) * height) / 2);
      pen.fillRect(x, top, 1, Math.max(1, bottom - top));
    }
  }

  function drawMel(canvas, levels) {
    const bins = get("n_mels");
    const frames = levels.length / bins;
    const small = make("canvas", { width: frames, height: bins });
    const image = new ImageData(frames, bins);
    for (let t = 0; t < frames; t++) {
      for (let bin = 0; bin < bins; bin++) {
        // low frequencies at the bottom
        image.data.set(PALETTE[levels[t * bins + bin]], 4 * ((bins - 1 - bin) * frames + t));
      }
    }
    small.getContext("2d").putImageData(image, 0, 0);
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = false;
    const [left, right] = view.map((t) => (t / engine.duration) * frames);
    pen.drawImage(small, left, 0, right - left, bins, 0, 0, canvas.width, canvas.height);
  }

  // --- what can be done ---
  function load() {
    const { wanted, playhead, duration, active, looping, region: marked } = engine;
    const bytes = get("pcm");
    const end = bytes.byteOffset + bytes.byteLength;
    const all = new Int16Array(bytes.buffer.slice(bytes.byteOffset, end));
    const n = get("labels").length;
    const length = all.length / n;
    const parts = get("labels").map((_, i) => all.subarray(i * length, (i + 1) * length));
    engine.load(parts, get("sample_rate"));
    const same = engine.duration === duration && get("picture").byteLength;
    if (!same) view = [0, engine.duration];
    // a variation of what was there, made by a slider, goes on where that was; a blind trial starts
    if (same) {
      const state = { position: playhead, active: Math.min(active, n - 1), looping, region: marked };
      Object.assign(engine, state);
      if (wanted) play();
    }
    version = get("version");
    rating.value = "";
    picture.setAttribute("aria-valuemin", 0);
    picture.setAttribute("aria-valuemax", engine.duration.toFixed(2));
    engine.changed();
    setView(...view);
    showTracks();
  }

  function play() {
    // where there is no sound device, the context never wakes up
    const late = setTimeout(() => say("The browser gives no sound: is there a device?"), 2000);
    engine.play().then(
      () => clearTimeout(late),
      (error) => say(`No sound: ${error.message}`),
    );
  }

  function select(track) {
    engine.select(track);
    root.dataset.active = label();
    prefer.textContent = `Prefer ${label()}`;
    const loud = get("lufs")[track];
    note.textContent = get("note") + (loud ? ` Loudness of \u201c${label()}\u201d: ${loud}.` : "");
    [...tracks.children].forEach((button, i) => button.setAttribute("aria-pressed", i === track));
    draw();
  }

  // Go on at a position, with the loop as it is now.
  function seek(position) {
    engine.restart(position);
    showLoop();
    tick();
  }

  function setRegion(from, to) {
    engine.region = to - from >= SHORTEST_LOOP ? [from, to] : null;
    engine.looping = engine.region !== null;
    seek(engine.playhead);
  }

  function toggleLoop() {
    engine.looping = !engine.looping;
    seek(engine.playhead);
  }

  // A click seeks (outside the loop region it removes the region); a drag marks a loop region.
  function drag(event) {
    const box = picture.getBoundingClientRect();
    const at = ({ clientX }) =>
      view[0] + (view[1] - view[0]) * Math.min(1, Math.max(0, (clientX - box.left) / box.width));
    const from = at(event);
    const isDrag = (e) => Math.abs(e.clientX - event.clientX) > 5;
    const ends = (e) => [Math.min(from, at(e)), Math.max(from, at(e))];
    const move = (e) => {
      if (!isDrag(e)) return;
      engine.region = ends(e);
      showLoop();
    };
    const up = (e) => {
      end.abort();
      if (isDrag(e)) return setRegion(...ends(e));
      const inside = engine.region && from >= engine.region[0] && from < engine.region[1];
      if (!inside) engine.region = null;
      seek(from);
    };
    const end = new AbortController(); // of this drag: takes its listeners away
    picture.setPointerCapture(event.pointerId);
    picture.addEventListener("pointermove", move, end);
    picture.addEventListener("pointerup", up, end);
    picture.addEventListener("pointercancel", () => end.abort(), end);
  }

  function download() {
    const file = wavFile(engine.tracks[engine.active], engine.rate);
    const name = [get("title"), label()].filter(Boolean).join(" ");
    const link = make("a", { href: URL.createObjectURL(file), download: `${name}.wav` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  function ownKeys(node) {
    return node.matches("input, .vp-below *");
  }

  function onKey(event) {
    if (event.ctrlKey || event.altKey || event.metaKey || ownKeys(event.target)) return;
    const now = engine.playhead;
    const step = Math.min(1, engine.duration / 20);
    const [from, to] = engine.loop ?? [0, engine.duration];
    const within = (t) => Math.min(Math.max(t, from), Math.max(from, to - 0.01));
    const actions = {
      " ": press,
      arrowleft: () => seek(within(now - step)),
      arrowright: () => seek(within(now + step)),
      home: () => seek(from),
      l: toggleLoop,
      "+": () => zoom(1 / 2),
      "=": () => zoom(1 / 2), // the same key without Shift
      "-": () => zoom(2),
      "[": () => setRegion(now, now < to ? to : engine.duration),
      "]": () => setRegion(now > from ? from : 0, now),
    };
    for (let i = 0; i < Math.min(9, tracks.children.length); i++) actions[i + 1] = () => select(i);
    const action = actions[event.key.toLowerCase()];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    if (!event.repeat || event.key.startsWith("Arrow")) action();
  }

  function send(name, value) {
    model.set(name, value);
    model.save_changes();
  }

  function choose() {
    const count = (get("choice").count ?? 0) + 1; // so that the same choice again is a new one
    send("choice", { track: engine.active, rating: rating.value, count });
  }

  // What Python changes together is all there when the first change is told.
  const listeners = {
    "change:version": load,
    "change:labels": () => get("version") === version && showTracks(), // the names are revealed
    "change:status": () => say(get("status")),
  };
  for (const [name, listener] of Object.entries(listeners)) model.on(name, listener);
  const resize = new ResizeObserver(draw);

  el.append(root);
  load();
  say(get("status"));
  resize.observe(picture);
  return () => {
    engine.pause();
    cancelAnimationFrame(frame);
    resize.disconnect();
    for (const [name, listener] of Object.entries(listeners)) model.off(name, listener);
  };
}

export default { render };
