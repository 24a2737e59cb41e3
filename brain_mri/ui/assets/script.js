// What Gradio has no component for: enlarge, wipe and save pictures, paste a scan, switch between light and dark.
(() => {
  const enlarge = (img) => {
    const box = document.createElement("dialog");
    box.className = "large";
    box.setAttribute("aria-label", img.alt);
    const copy = new Image();
    copy.src = img.src;
    copy.alt = img.alt;
    const close = document.createElement("button");
    close.textContent = "Close";
    close.autofocus = true;
    box.append(copy, close);
    box.addEventListener("click", () => box.close());
    box.addEventListener("close", () => { box.remove(); img.focus(); });
    document.body.append(box);
    box.showModal();
  };

  document.addEventListener("click", (event) => {
    if (event.target.matches?.("img.zoom")) enlarge(event.target);
    const save = event.target.closest?.("[data-save]");
    if (save) {
      const link = document.createElement("a");
      link.href = save.closest(".card").querySelector(".wipe img.zoom").src;
      link.download = save.dataset.save;
      link.click();
    }
    const to = event.target.closest?.("[data-open-tab]")?.dataset.openTab;
    if (to) {
      event.preventDefault();
      const tabs = document.querySelectorAll("#tabs [role=tab], #tabs .overflow-dropdown button");
      [...tabs].find((tab) => tab.textContent.trim() === to)?.click();
      scrollTo(0, 0);
    }
    if (event.target.closest?.(".theme")) document.body.classList.toggle("dark");
  });
  document.addEventListener("keydown", (event) => {
    if ((event.key === "Enter" || event.key === " ") && event.target.matches?.("img.zoom")) {
      event.preventDefault();
      enlarge(event.target);
    }
  });

  document.addEventListener("input", (event) => {
    const wiper = event.target.closest?.(".wiper");
    if (wiper) wiper.parentElement.querySelector(".wipe").style.setProperty("--shown", `${event.target.value}%`);
  });

  // Words of the glossary: shown while the mouse or the focus of the keyboard is on them; a click or a tap keeps them open
  // until Escape, another click, or one elsewhere. One box for all, which a screen reader reads out when it changes.
  const box = document.createElement("div");
  box.id = "explained";
  box.setAttribute("role", "status");
  let word = null;
  let kept = false;
  let timer = 0;
  const hide = () => {
    clearTimeout(timer);
    word?.setAttribute("aria-expanded", "false");
    word = null;
    kept = false;
    box.replaceChildren();
  };
  const explain = (button, keep) => {
    clearTimeout(timer);
    kept = keep || (kept && word === button);
    if (word === button) return;
    word?.setAttribute("aria-expanded", "false");
    word = button;
    button.setAttribute("aria-expanded", "true");
    const [name, text] = ["strong", "span"].map((tag) => document.createElement(tag));
    [name.textContent, text.textContent] = explainedWords[button.dataset.word];
    document.body.append(box);
    box.replaceChildren(name, text);
    const [at, wide] = [button.getBoundingClientRect(), document.documentElement.clientWidth];
    const above = at.bottom + box.offsetHeight + 8 > innerHeight && at.top > box.offsetHeight + 90; // below the disclaimer
    box.style.left = `${Math.max(8, Math.min(at.left, wide - box.offsetWidth - 8)) + scrollX}px`;
    box.style.top = `${(above ? at.top - box.offsetHeight - 6 : at.bottom + 6) + scrollY}px`;
  };
  const term = (event) => event.target.closest?.(".term");
  const inside = (event) => term(event) || event.target.closest?.("#explained");
  document.addEventListener("pointerover", (event) => {
    if (event.pointerType !== "mouse") return;
    clearTimeout(timer);
    const button = term(event);
    if (button && !kept) timer = setTimeout(() => explain(button, false), word ? 0 : 150);
    else if (word && !kept && !inside(event)) timer = setTimeout(hide, 250); // time to reach the box
  });
  document.addEventListener("pointerdown", (event) => { if (!inside(event)) hide(); });
  document.addEventListener("click", (event) => {
    const button = term(event);
    if (button) kept && word === button ? hide() : explain(button, true);
  });
  document.addEventListener("focusin", (event) => {
    if (term(event)?.matches(":focus-visible")) explain(term(event), false);
  });
  document.addEventListener("focusout", (event) => { if (term(event) === word && !kept) hide(); });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
    if ((event.key === "Enter" || event.key === " ") && event.target.matches?.(".term")) {
      event.preventDefault();
      event.target.click();
    }
  });

  // Gradio names a download link by its size alone; screen readers should hear the file.
  new MutationObserver(() => {
    if (word && !word.isConnected) hide();
    for (const link of document.querySelectorAll("a.download-link:not([aria-label])")) {
      link.setAttribute("aria-label", `Download ${link.download} (${link.innerText.replace("⇣", "").trim()})`);
    }
  }).observe(document.documentElement, { childList: true, subtree: true });

  // From the moment a new file is chosen until the server answers for it, nothing of the file before is shown: an upload
  // may take a minute, or be refused. The banner of the tab is the first that changes.
  const chosen = (box) => {
    const tab = box?.closest("[role=tabpanel]");
    const banner = tab?.querySelector("#finding, #volume-finding, #batch-summary, #compare-result");
    if (!banner) return;
    tab.classList.add("stale");
    const said = () => banner.querySelector(".banner")?.textContent; // Gradio's own signs of progress are no answer
    const before = said();
    new MutationObserver((_, watch) => {
      if (said() === before) return;
      watch.disconnect();
      tab.classList.remove("stale");
    }).observe(banner, { childList: true, subtree: true, characterData: true });
  };
  // A server that does not answer, or ends while it works: one sentence, and nothing of the scan before where a new one was
  // begun. Everything works again with the first request that is answered.
  const away = (sentence, begun) => {
    if (!document.querySelector("#away")) {
      const said = document.createElement("div");
      said.id = "away";
      said.className = "banner error";
      said.setAttribute("role", "alert");
      said.append(document.createElement("p"));
      document.querySelector("#tabs").before(said);
    }
    document.querySelector("#away p").textContent = sentence;
    for (const tab of document.querySelectorAll("#tabs [role=tabpanel]")) {
      const works = tab.querySelector(".banner .word")?.textContent === "Working";
      if (tab.offsetParent && (begun || works)) chosen(tab);
    }
  };
  const silent = "The server does not answer; please choose the scan again in a moment.";
  const busy = "Too many requests are waiting; please choose the scan again in a moment.";
  const anew = "The server has started anew; please load the page again to sign in.";
  const real = window.fetch;
  window.fetch = async (...request) => {
    const address = String(request[0]?.url ?? request[0]);
    if (!/gradio_api\/(upload\?|run\/|queue\/)/.test(address)) return real(...request);
    const begun = !address.includes("queue/");
    const broken = (error) => { if (error?.name !== "AbortError") away(silent, begun); };
    let answer;
    try {
      answer = await real(...request);
    } catch (error) {
      broken(error);
      throw error;
    }
    if (answer.status === 401) away(anew, begun);
    else if (answer.status === 503) away(busy, begun);
    else if (answer.status === 502 || answer.status === 504) away(silent, begun);
    else document.querySelector("#away")?.remove();
    if (!address.includes("queue/data") || !answer.body) return answer;
    const [mine, theirs] = answer.body.tee();
    mine.pipeTo(new WritableStream()).catch(broken);
    return new Response(theirs, answer);
  };
  // Gradio says the same in its own words; where it tries again by itself, it loads the page anew.
  new MutationObserver(() => {
    for (const note of document.querySelector("#away") ? document.querySelectorAll(".toast-body.error") : []) {
      if (/Connection (errored out|to the server was lost)|currently busy/.test(note.innerText)) note.querySelector(".toast-close")?.click();
    }
  }).observe(document.documentElement, { childList: true, subtree: true });

  document.addEventListener("change", (event) => {
    if (event.target.matches?.("input[type=file]") && event.target.files.length) chosen(event.target);
  }, true);
  document.addEventListener("drop", (event) => {
    if (event.target.closest?.("[id$=-file]") && event.dataTransfer?.files.length) chosen(event.target);
  }, true);

  // Ctrl+V anywhere, or a file dropped beside the box: hand it to the upload box of the open tab.
  const give = (files) => {
    const boxes = document.querySelectorAll("#scan-file, #volume-file, #batch-file");
    const open = [...boxes].find((box) => box.offsetParent !== null);
    const input = open?.querySelector("input[type=file]");
    if (!input || !files.length) return false;
    const carrier = new DataTransfer();
    for (const file of input.multiple ? files : [files[0]]) carrier.items.add(file);
    input.files = carrier.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
    return true;
  };
  document.addEventListener("paste", (event) => {
    if (event.target.matches?.("input, textarea")) return;
    if (give([...(event.clipboardData?.files ?? [])])) event.preventDefault();
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (event.target.closest?.("#scan-file, #volume-file, #batch-file")) return;
    event.preventDefault();
    give([...(event.dataTransfer?.files ?? [])]);
  });
})();
