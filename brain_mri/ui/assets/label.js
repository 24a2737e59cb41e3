// The keys of the tab Label: each presses its button, see label_tab.py. Those of the editor are its own.
const KEYS = { n: "next", enter: "next", x: "none", s: "skip", p: "previous", t: "back" };
const canvas = () => document.querySelector("#label-outline canvas");
let coming = null;
const pressed = (event) => {
  if (!element.isConnected) {
    document.removeEventListener("keydown", pressed);
    return;
  }
  if (!element.offsetParent || event.repeat || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches?.("input:not([type=range]), textarea, select, [contenteditable]")) return;
  if (document.querySelector("dialog[open]")) return;
  const does = KEYS[event.key.toLowerCase()];
  if (!does || (event.key === "Enter" && event.target.closest?.("button, a, summary, [role=button], [role=tab]"))) return;
  event.preventDefault();
  const old = canvas();
  coming?.disconnect();
  if (old && document.activeElement === old) { // whoever draws with the keys goes on with them
    coming = new MutationObserver((_, watch) => {
      const now = canvas();
      if (!now || now === old) return;
      watch.disconnect();
      now.focus({ preventScroll: true });
    });
    coming.observe(document.querySelector("#label-outline"), { childList: true, subtree: true });
  }
  document.querySelector(`#label-${does}`)?.click();
};
document.addEventListener("keydown", pressed);
addEventListener("beforeunload", (event) => { // else a page that is closed takes along what was drawn
  const board = element.isConnected && document.querySelector("#label-outline .outline")?.dataset;
  const drafts = document.querySelector("#label-progress [data-drafts]")?.dataset.drafts;
  if (board && ((board.now ?? board.mask) !== board.mask || Number(drafts))) event.preventDefault();
});
