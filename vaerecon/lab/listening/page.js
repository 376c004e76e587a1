// Follows player.js where there is no kernel: in a saved notebook, a report, the site. Each element
// with data-vaerecon-player holds what Python would send, as JSON, and a table of <audio> with the
// sounds. The table becomes a player; where scripts do not run, it stays.

function bytes(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

function pageModel(holder) {
  const { answer, picture, samples, ...state } = JSON.parse(holder.dataset.vaereconPlayer);
  const sounds = [...holder.querySelectorAll("audio")];
  state.pcm = new Uint8Array(sounds.length * samples * 2);
  // the samples are the end of the WAV file
  sounds.forEach(({ src }, i) =>
    state.pcm.set(bytes(src.split(",")[1]).subarray(-2 * samples), 2 * samples * i),
  );
  state.picture = bytes(picture);
  const listeners = {};
  return {
    get: (name) => state[name],
    // a page has no "Prefer": only `revealed` is set
    set: () => Object.assign(state, answer, { revealed: true, picture: bytes(answer.picture) }),
    save_changes: () => listeners["change:labels"](),
    on: (name, listener) => (listeners[name] = listener),
    off() {},
  };
}

for (const holder of document.querySelectorAll("[data-vaerecon-player]")) {
  const model = pageModel(holder);
  holder.removeAttribute("data-vaerecon-player"); // once, though each output has this script
  holder.replaceChildren();
  render({ model, el: holder });
}
