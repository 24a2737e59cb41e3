// The viewer of the Volume tab: NiiVue in a frame of sliders and tools, linked with the chart along the slices. Nothing here
// asks the server for more than the two files of the volume. ui/viewer.py says what `data-volume` holds.
(() => {
  const TYPES = { axial: 0, coronal: 1, sagittal: 2, four: 3, render: 4 }; // NiiVue's SLICE_TYPE
  const DRAG = { cross: 8, measure: 2, window: 9, pan: 3 }; // NiiVue's DRAG_MODE
  const MASK = { R: [0, 255], G: [0, 176], B: [0, 0], A: [0, 255], I: [0, 255] }; // amber, as segmentation.TINT
  const BLUE = [0.337, 0.706, 0.914, 0.9];
  const HELP = "Drag in a slice to move the cross, in the head to turn it. Click, then scroll or press the arrow keys, to go through the slices.";
  const SIDES = "The patient's right is on the left of the picture, as radiologists look at it. " +
    "R right, L left, A front, P back, S top, I bottom of the head.";

  const capital = (word) => word[0].toUpperCase() + word.slice(1);
  const make = (tag, attributes = {}, ...children) => {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  };
  const script = (address) => new Promise((done, failed) => {
    document.head.append(Object.assign(document.createElement("script"), { src: address, onload: done, onerror: failed }));
  });
  const webgl = () => {
    const gl = document.createElement("canvas").getContext("webgl2");
    gl?.getExtension("WEBGL_lose_context")?.loseContext(); // a browser keeps only so many
    return Boolean(gl);
  };

  // --- one volume ---------------------------------------------------------------------------------------------
  class Viewer {
    constructor(panel, place, given, failed) {
      Object.assign(this, { panel, given, failed, gone: false, lead: given.axis[given.planes[0]] });
      this.shape = given.count.map((n, i) => Math.ceil(n / given.step[i]) * given.step[i]); // of the file, in voxels of the scan
      this.build();
      place.append(this.element);
      this.element.viewer = this; // for who asks in the browser's console, and for tests
    }

    build() {
      const { planes, axis, count } = this.given;
      this.canvas = make("canvas", { tabindex: 0, role: "application", "aria-label": `The volume with its mask. ${HELP}` });
      this.wait = make("p", { class: "wait", role: "status" }, "Loading the viewer and the volume…");
      this.stage = make("div", { class: "stage" }, this.canvas, this.wait);
      this.slices = planes.map((plane) => this.slide(
        `${capital(plane)} slice`, 1, count[axis[plane]], 1, (n) => `${n} of ${count[axis[plane]]}`,
        (n) => this.goTo(axis[plane], n - 1)));
      const [low, high] = this.given.range, part = (high - low) / 255 || 1, whole = high - low > 20;
      const number = (x) => (whole ? Math.round(x) : x.toPrecision(3));
      this.opacity = this.slide("Mask opacity", 0, 1, 0.05, (x) => `${Math.round(100 * x)} %`, (x) => this.nv.setOpacity(1, x));
      this.level = this.slide("Brightness (window level)", low, high, part, number, () => this.setWindow());
      this.width = this.slide("Contrast (window width)", part, high - low || part, part, number, () => this.setWindow());
      const views = planes.length === 3
        ? [["four", "All"], ...planes.map((plane) => [plane, capital(plane)]), ["render", "3-D"]]
        : planes.map((plane) => [plane, capital(plane)]);
      const tools = [["cross", "Move the cross"], ["measure", "Measure"], ["window", "Contrast"]];
      this.flat = make("span", {}, " This browser draws without a graphics card: the head in three dimensions is only under 3-D.");
      this.flat.hidden = true;
      const coarse = this.given.step.some((n) => n > 1);
      this.said = make("p", { class: "said", role: "status" });
      this.measured = make("p", { class: "said", "aria-live": "polite" });
      const desk = make("div", { class: "desk" },
        ...(views.length > 1 ? [this.choice("Show", views, (name) => this.setView(name))] : []),
        ...this.slices.map((s) => s.line), this.opacity.line, this.level.line, this.width.line,
        this.choice("Dragging in the picture", tools, (name) => this.setTool(name)),
        make("div", { class: "buttons" },
          make("button", { type: "button", onclick: () => this.save() }, "Save this view"),
          make("button", { type: "button", onclick: () => this.reset() }, "Reset")),
        this.said, this.measured);
      this.element = make("section", { class: "card", "aria-label": "Viewer of the volume" },
        make("header", {}, make("h3", {}, planes.length === 3 ? "In three dimensions" : "Slice by slice"), make("p", {}, HELP)),
        make("div", { class: "viewer" }, this.stage, desk),
        make("p", { class: "key" }, SIDES, coarse ? " This volume is large: it is shown here in a coarser copy." : "", this.flat));
    }

    slide(label, min, max, step, say, act) {
      const output = make("span", { "aria-hidden": "true" });
      const input = make("input", { type: "range", "aria-label": label, min, max, step, oninput: () => { set(input.value); act(Number(input.value)); } });
      const set = (value) => {
        input.value = value;
        output.textContent = say(Number(input.value));
        input.setAttribute("aria-valuetext", output.textContent);
      };
      const line = make("label", { class: "slide" }, make("span", {}, label), output, input);
      return { line, set, get value() { return Number(input.value); } };
    }

    choice(title, options, act) {
      const name = `viewer-${title}`;
      const buttons = options.map(([value, label], i) => {
        const input = make("input", { type: "radio", name, value, onchange: () => act(value) });
        input.checked = i === 0;
        return make("label", {}, input, make("span", {}, label));
      });
      return make("fieldset", {}, make("legend", {}, title), make("div", { class: "choices" }, ...buttons));
    }

    async load(file) {
      const radiological = { isRadiologicalConvention: true, sagittalNoseLeft: true };
      const nv = new window.niivue.Niivue({
        ...radiological, backColor: [0, 0, 0, 1], crosshairColor: BLUE, crosshairWidth: 0.3,
        measureLineColor: BLUE, rulerColor: BLUE, measureTextColor: [1, 1, 1, 1], rulerWidth: 2, fontColor: [0.75, 0.8, 0.84, 1],
        showMeasureUnits: this.given.mm, dragAndDropEnabled: false, logLevel: "error", loadingText: "", tileMargin: 6,
        show3Dcrosshair: true, showAllOrientationMarkers: true, multiplanarLayout: 2, // a grid
      });
      this.nv = nv;
      const letters = nv.drawSliceOrientationText.bind(nv);
      nv.drawSliceOrientationText = ([x, y, width, height], ...more) => { // whole ones, too, where a slice fills the canvas
        const edge = width < nv.gl.canvas.width ? 0 : 8 * devicePixelRatio;
        letters([x + edge, y + edge / 2, width - 2 * edge, height - edge], ...more);
      };
      nv.addColormap("amber", MASK);
      // Before NiiVue's own: its keys change views and tools behind the back of the controls
      this.stage.addEventListener("keydown", (event) => this.key(event), true);
      this.stage.addEventListener("keyup", (event) => event.stopPropagation(), true);
      // Who scrolls down the page passes over the picture; who has clicked into it means its slices
      this.stage.addEventListener("wheel", (event) => document.activeElement === this.canvas || event.stopPropagation(), true);
      this.stage.addEventListener("pointerdown", () => this.canvas.focus({ preventScroll: true }), true);
      for (const kind of ["touchstart", "touchmove", "touchend"]) {
        this.stage.addEventListener(kind, (event) => this.touch(event), { capture: true, passive: false });
      }
      this.canvas.addEventListener("webglcontextlost", () => this.gone || this.failed());
      await nv.attachToCanvas(this.canvas);
      const [low, high] = this.given.window;
      await nv.loadVolumes([
        { url: file(this.given.volume), name: "volume.nii.gz", colormap: "gray", cal_min: low, cal_max: high },
        { url: file(this.given.mask), name: "mask.nii.gz", colormap: "amber", cal_min: 0, cal_max: 1, opacity: 0.45 },
      ]);
      if (this.gone) return;
      if (nv.volumes.length !== 2) throw new Error("the volume could not be fetched");
      // Without a graphics card the head takes a second to draw: then only where it is asked for
      const about = nv.gl.getExtension("WEBGL_debug_renderer_info");
      this.slow = /swiftshader|llvmpipe|softpipe|software|basic render/i.test(
        nv.gl.getParameter(about ? about.UNMASKED_RENDERER_WEBGL : nv.gl.RENDERER));
      [nv.volumes[0].robust_min, nv.volumes[0].robust_max] = [low, high]; // where a double click returns to
      nv.onLocationChange = (at) => this.moved(at);
      nv.onIntensityChange = () => this.showWindow();
      nv.onMouseUp = () => this.showWindow();
      nv.onMeasurementCompleted = (line) => {
        const unit = !this.given.mm ? "voxels; the file states no voxel size" : this.given.doubt ? "mm; doubtful: see the note above" : "mm";
        this.measured.textContent = `Measured: ${line.distance.toFixed(1)} ${unit}.`;
      };
      this.reset();
      this.wait.remove();
      this.element.dataset.ready = "";
    }

    // Which voxel of the scan the cross is in, along right, front and top
    get at() {
      return [0, 1, 2].map((i) => Math.min(this.given.count[i] - 1, Math.floor(this.nv.scene.crosshairPos[i] * this.shape[i] + 1e-4)));
    }

    goTo(axis, index) {
      const place = this.at;
      place[axis] = Math.max(0, Math.min(this.given.count[axis] - 1, index));
      this.jump(place);
    }

    jump(place) {
      place.forEach((index, i) => { this.nv.scene.crosshairPos[i] = (index + 0.5) / this.shape[i]; });
      this.nv.createOnLocationChange();
      this.nv.drawScene();
    }

    moved(at) {
      const place = this.at, { planes, axis, count } = this.given;
      planes.forEach((plane, i) => this.slices[i].set(place[axis[plane]] + 1));
      const value = at.values[0]?.value, inside = at.values[1]?.value > 0.5;
      this.said.textContent = `At the cross: value ${Number(value?.toPrecision(4) ?? NaN)}, ${inside ? "inside" : "outside"} the mask.`;
      const chart = this.panel.querySelector("#volume-chart svg.pick"), index = place[this.lead];
      if (!chart) return;
      chart.querySelector("rect").setAttribute("x", index);
      for (const end of ["x1", "x2"]) chart.querySelector("line").setAttribute(end, index + 0.5);
      chart.setAttribute("aria-label", chart.getAttribute("aria-label").replace(/Slice \d+ is shown/, `Slice ${index + 1} is shown`));
    }

    // A click or drag in the chart along the slices
    chart(event) {
      const box = event.target.closest("#volume-chart [data-pick]")?.getBoundingClientRect();
      if (!box || !("ready" in this.element.dataset)) return false;
      this.goTo(this.lead, Math.floor(((event.clientX - box.left) / box.width) * this.given.count[this.lead]));
      return true;
    }

    setView(name) {
      const solid = name === "render" || (name === "four" && !this.slow);
      if (solid) this.lit ??= this.nv.setVolumeRenderIllumination(0.6);
      this.nv.opts.multiplanarShowRender = Number(solid);
      this.flat.hidden = solid || name !== "four";
      this.nv.setSliceType(TYPES[name]);
      this.view = name;
    }

    setTool(name) {
      this.tool = name;
      this.nv.setDragMode(name === "measure" ? "measurement" : "contrast");
      this.nv.setMouseEventConfig({ leftButton: { primary: DRAG[name] }, rightButton: DRAG.window, centerButton: DRAG.pan });
      this.nv.setTouchEventConfig({ singleTouch: DRAG[name], doubleTouch: DRAG.pan });
    }

    setWindow() {
      const volume = this.nv.volumes[0], level = this.level.value, half = this.width.value / 2;
      [volume.cal_min, volume.cal_max] = [level - half, level + half];
      this.showWindow();
      this.nv.updateGLVolume();
    }

    showWindow() {
      const { cal_min: low, cal_max: high } = this.nv.volumes[0];
      this.level.set((low + high) / 2);
      this.width.set(high - low);
    }

    reset() {
      const { nv } = this;
      [nv.volumes[0].cal_min, nv.volumes[0].cal_max] = this.given.window;
      nv.volumes[1].opacity = 0.45;
      this.opacity.set(0.45);
      this.showWindow();
      nv.document.completedMeasurements = [];
      this.measured.textContent = "";
      nv.scene.pan2Dxyzmm = [0, 0, 0, 1];
      [nv.scene.volScaleMultiplier, nv.scene.renderAzimuth, nv.scene.renderElevation] = [1, 150, 20];
      for (const input of this.element.querySelectorAll("label:first-child > [type=radio]")) input.checked = true;
      this.setTool("cross");
      this.setView(this.given.planes.length === 3 ? "four" : this.given.planes[0]);
      nv.updateGLVolume();
      this.jump(this.given.start);
    }

    key(event) {
      event.stopPropagation();
      const step = { ArrowUp: 1, ArrowRight: 1, PageUp: 10, ArrowDown: -1, ArrowLeft: -1, PageDown: -10 }[event.key];
      if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      if (this.view === "render") {
        const { renderAzimuth, renderElevation } = this.nv.scene, up = event.key.endsWith("Up") || event.key.endsWith("Down");
        this.nv.setRenderAzimuthElevation(renderAzimuth + (up ? 0 : 5 * step), renderElevation + (up ? 5 * Math.sign(step) : 0));
      } else {
        const axis = this.given.axis[this.view] ?? this.lead;
        this.goTo(axis, this.at[axis] + step);
      }
    }

    // NiiVue measures with a mouse only: while measuring, one finger is one.
    touch(event) {
      if (this.tool !== "measure" || event.touches.length > 1) return;
      event.stopPropagation();
      event.preventDefault();
      const finger = event.changedTouches[0];
      const kind = { touchstart: "mousedown", touchmove: "mousemove", touchend: "mouseup" }[event.type];
      this.canvas.dispatchEvent(new MouseEvent(kind, { clientX: finger.clientX, clientY: finger.clientY, bubbles: true }));
    }

    save() {
      this.nv.drawScene(); // the drawing is kept only until the browser has shown it
      this.canvas.toBlob((blob) => {
        const link = make("a", { href: URL.createObjectURL(blob), download: `volume_view_slice_${this.at[this.lead] + 1}.png` });
        link.click();
        setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
      });
    }

    // Everything of this volume goes, in the browser's memory and on the graphics card.
    end() {
      this.gone = true;
      this.element.remove();
      if (!this.nv) return;
      this.nv.cleanup();
      this.nv.volumes = [];
      this.nv._gl?.getExtension("WEBGL_lose_context")?.loseContext();
      this.nv = null;
    }
  }

  // --- the tab ------------------------------------------------------------------------------------------------
  window.volumeViewer = (panel, folder) => {
    if (!webgl()) return; // the planes that the server draws stay
    document.head.append(make("link", { rel: "stylesheet", href: `${folder}/viewer.css` }));
    const library = script(`${folder}/niivue.umd.js`);
    library.catch(() => 0); // told where it is awaited
    const file = (path) => folder.replace(/file=.*/, `file=${path}`);
    let open = null, place = null;

    const show = async () => {
      const now = panel.querySelector("[data-volume]");
      if (now === place) return;
      open?.end();
      [open, place] = [null, now];
      panel.classList.toggle("viewing", Boolean(now));
      if (!now) return;
      const planes = () => {
        if (place !== now) return;
        open?.end();
        open = null;
        panel.classList.remove("viewing");
      };
      const mine = open = new Viewer(panel, now, JSON.parse(now.dataset.volume), planes);
      try {
        await library;
        if (!mine.gone) await mine.load(file);
      } catch (error) {
        if (!mine.gone) planes();
      }
    };
    new MutationObserver(show).observe(panel, { childList: true, subtree: true });
    show();

    panel.addEventListener("click", (event) => {
      if (open && event.target.closest?.("#volume-chart [data-pick]")) event.stopPropagation(); // no question to the server
    }, true);
    const scrub = (event) => { if (event.buttons & 1 || event.type === "pointerdown") open?.chart(event); };
    panel.addEventListener("pointerdown", scrub);
    panel.addEventListener("pointermove", scrub);
  };
})();
