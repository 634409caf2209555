"use strict";
// Teach pages: refreshes what changes, moves the threshold with a slider, draws area, mask and regions on a frame.
// Without this file the pages reload by themselves, and area, regions and threshold are number fields.

const refreshMs = 1000;

async function fetchPage(address, more = {}) {
  const answer = await fetch(address, { signal: AbortSignal.timeout(10000), ...more });
  return answer.ok ? new DOMParser().parseFromString(await answer.text(), "text/html") : null;
}

function swapLive(fresh) {
  for (const part of document.querySelectorAll("[data-live]:not([data-live=prediction])")) {
    const next = fresh.querySelector(`[data-live="${part.dataset.live}"]`);
    if (!next || next.outerHTML === part.outerHTML) continue;
    if (part.dataset.stage && part.dataset.stage !== next.dataset.stage) { location.reload(); return; }
    for (const box of part.querySelectorAll("input:checked")) {
      const same = next.querySelector(`input[value="${CSS.escape(box.value)}"]`);
      if (same) same.checked = true;
    }
    for (const [n, folded] of part.querySelectorAll("details").entries()) {
      const same = next.querySelectorAll("details")[n];
      if (same) same.open = folded.open;
    }
    part.replaceWith(document.adoptNode(next));
  }
}

async function watch() {
  const live = document.querySelector("[data-live]:not([data-live=effect])");
  const pictures = document.querySelectorAll("img[data-fresh]");
  if (!live && !pictures.length) return;
  for (;;) {
    await new Promise((done) => setTimeout(done, refreshMs));
    if (document.hidden) continue;
    // Thumbnails change only while some are being made.
    const still = document.querySelector("[data-live=thumbs]") && !document.querySelector("[data-live=waiting] p");
    const fresh = still ? null : await fetchPage(location.href).catch(() => null);
    if (fresh) swapLive(fresh);
    for (const picture of pictures) await refreshPicture(picture);
  }
}

async function refreshPicture(picture) {
  const next = new Image();
  next.src = `${picture.src.split("?")[0]}?at=${Date.now()}`;
  await next.decode().then(() => { picture.src = next.src; }).catch(() => {});
}

function useSlider() {
  const form = document.querySelector("form.slider");
  if (!form) return;
  const slider = form.querySelector("[type=range]");
  const field = form.querySelector("[name=threshold]");
  slider.hidden = false;
  let timer = 0;
  let asked = 0;
  const show = async () => {
    const number = ++asked;
    const fresh = await fetchPage(`${form.action}?threshold=${encodeURIComponent(field.value)}`).catch(() => null);
    if (fresh && number === asked) swapLive(fresh);
  };
  slider.addEventListener("input", () => {
    field.value = Number(slider.value).toPrecision(4);
    clearTimeout(timer);
    timer = setTimeout(show, 120);
  });
  field.addEventListener("change", () => { slider.value = field.value.replace(",", "."); });
  // Score maps of what changes sides arrive later.
  setInterval(() => { if (!document.hidden && document.querySelector("[data-waiting]")) show(); }, 1500);
}

// What leaving out the chosen pictures would change, as soon as they are chosen.
function predict() {
  const form = document.querySelector("form[data-predict]");
  const button = form?.querySelector("button[value=predict]");
  if (!button) return;
  button.hidden = true;
  let asked = 0;
  form.addEventListener("change", async (event) => {
    if (event.target.name !== "name") return;
    const number = ++asked;
    const body = new URLSearchParams(new FormData(form, button));
    const fresh = await fetchPage(form.getAttribute("action"), { method: "POST", body }).catch(() => null);
    const next = fresh?.querySelector("[data-live=prediction]");
    if (next && number === asked) form.querySelector("[data-live=prediction]").replaceWith(document.adoptNode(next));
  });
}

// Regions: rows of fields, each of which can be drawn, added and removed.
function useRegions(repaint, choose) {
  const form = document.querySelector("form.regions");
  if (!form) return { drawn: () => null, boxes: () => [] };
  const add = form.querySelector("[data-region=add]");
  const rows = () => [...form.querySelectorAll("fieldset.region")];
  const field = (row, name) => row.querySelector(`[name=${name}]`);
  const sides = (row) => ["x", "y", "width", "height"].map((name) => field(row, name));
  const blank = rows().at(-1).cloneNode(true);
  let drawn = null;
  const draw = (row) => {
    drawn = row;
    for (const button of form.querySelectorAll("[data-region=draw]")) button.ariaPressed = String(row !== null && row.contains(button));
    if (row) {
      choose("");
      document.querySelector(".canvas").scrollIntoView({ block: "nearest" });
    }
    repaint();
  };
  const show = () => {
    for (const [n, row] of rows().entries()) {
      row.querySelector("legend").textContent = form.dataset.title.replace("{number}", n + 1);
      row.querySelector(".tools").hidden = false;
      for (const one of [field(row, "name"), ...sides(row)]) one.required = true;
    }
    add.hidden = rows().length >= 16;
    repaint();
  };
  form.addEventListener("click", (event) => {
    const action = event.target.closest("[data-region]")?.dataset.region;
    const row = event.target.closest("fieldset.region");
    if (action === "draw") draw(drawn === row ? null : row);
    else if (action === "remove") {
      if (drawn === row) draw(null);
      row.remove();
      show();
      (rows().at(-1)?.querySelector("[name=name]") ?? add).focus();
    } else if (action === "add") {
      const fresh = blank.cloneNode(true);
      (rows().at(-1) ?? form.querySelector("p")).after(fresh);
      show();
      field(fresh, "name").focus();
      draw(fresh);
    }
  });
  form.addEventListener("input", repaint);
  // A region that is not used yet would only stand in the way.
  if (rows().length > 1) rows().at(-1).remove();
  show();
  return {
    drawn: () => drawn,
    leave: () => draw(null),
    set: (box) => { sides(drawn).forEach((side, n) => { side.value = box[n]; }); },
    boxes: () => rows().filter((row) => sides(row).every((side) => side.value !== ""))
      .map((row) => ({ name: field(row, "name").value, box: sides(row).map((side) => Number(side.value)), drawn: row === drawn })),
  };
}

// Area and mask: the fields of the form hold what is drawn, in pixels of the frame.
function draw() {
  const figure = document.querySelector(".canvas");
  const form = document.querySelector("form.area");
  if (!figure || !form) return;
  const [width, height] = figure.dataset.frame.split("x").map(Number);
  const canvas = figure.querySelector("canvas");
  const fields = ["x", "y", "width", "height"].map((name) => form.elements[name]);
  const brush = form.querySelector("#brush");
  let strokes = form.elements.strokes.value.split(";").filter((text) => text.trim()).map((text) => text.trim().split(/\s+/).map(Number));
  let tool = "region";
  let from = null;
  let regions = null;
  canvas.width = width;
  canvas.height = height;
  canvas.hidden = false;
  form.querySelector(".tools").hidden = false;

  const region = () => fields.every((field) => field.value !== "") ? fields.map((field) => Number(field.value)) : null;
  const paint = () => {
    const pen = canvas.getContext("2d");
    pen.clearRect(0, 0, width, height);
    pen.lineCap = pen.lineJoin = "round";
    pen.strokeStyle = pen.fillStyle = "rgb(20 20 20 / 75%)";
    for (const [radius, ...points] of strokes) {
      pen.lineWidth = 2 * radius;
      pen.beginPath();
      pen.moveTo(points[0], points[1]);
      for (let n = 0; n < points.length; n += 2) pen.lineTo(points[n], points[n + 1] + (n ? 0 : 0.01));
      pen.stroke();
    }
    const box = region();
    pen.lineWidth = Math.max(2, width / 200);
    if (box) {
      pen.fillStyle = "rgb(20 20 20 / 60%)";
      pen.fillRect(0, 0, width, box[1]);
      pen.fillRect(0, box[1] + box[3], width, height);
      pen.fillRect(0, box[1], box[0], box[3]);
      pen.fillRect(box[0] + box[2], box[1], width, box[3]);
      pen.strokeStyle = "#ffb81c";
      pen.strokeRect(...box);
    }
    const letters = Math.max(12, width / 32);
    pen.font = `600 ${letters}px sans-serif`;
    for (const one of regions?.boxes() ?? []) {
      pen.setLineDash(one.drawn ? [] : [letters / 2, letters / 3]);
      for (const [colour, wide] of [["#141414", 2], ["#7fd4ff", 1]]) {  // Seen on light and on dark parts.
        pen.strokeStyle = colour;
        pen.lineWidth = wide * Math.max(2, width / 250);
        pen.strokeRect(...one.box);
      }
      pen.setLineDash([]);
      pen.strokeStyle = "#141414";
      pen.fillStyle = "#7fd4ff";
      pen.lineWidth = letters / 4;
      const baseline = one.box[1] + (one.box[1] > letters * 1.5 ? -letters / 3 : letters * 1.1);
      const left = Math.max(0, Math.min(one.box[0], width - pen.measureText(one.name).width - letters / 4));
      pen.strokeText(one.name, left, baseline);
      pen.fillText(one.name, left, baseline);
    }
  };
  const store = () => { form.elements.strokes.value = strokes.map((stroke) => stroke.join(" ")).join(";"); paint(); };
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    const limit = (value, most) => Math.min(most, Math.max(0, Math.round(value)));
    return [limit((event.clientX - box.left) / box.width * width, width - 1), limit((event.clientY - box.top) / box.height * height, height - 1)];
  };
  const choose = (name) => {
    tool = name;
    if (name) regions?.leave?.();
    form.querySelector(".brush").hidden = tool !== "paint";
    for (const button of form.querySelectorAll("[data-tool]")) if (button.ariaPressed !== null) button.ariaPressed = String(button.dataset.tool === tool);
  };
  for (const button of form.querySelectorAll("[data-tool]")) {
    button.addEventListener("click", () => {
      if (button.dataset.tool === "undo") strokes.pop();
      else if (button.dataset.tool === "clear") { strokes = []; for (const field of fields) field.value = ""; }
      else choose(button.dataset.tool);
      store();
    });
  }
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    from = place(event);
    if (tool === "paint") strokes.push([Number(brush.value), ...from]);
    store();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!from) return;
    const to = place(event);
    if (tool === "paint") {
      const stroke = strokes.at(-1);
      // No more points than are needed: what is stored has a bound.
      const far = Math.hypot(to[0] - stroke.at(-2), to[1] - stroke.at(-1)) > Math.max(3, stroke[0] / 3);
      if (far) stroke.push(...to);
    } else {
      const box = [Math.min(from[0], to[0]), Math.min(from[1], to[1]), Math.abs(to[0] - from[0]), Math.abs(to[1] - from[1])];
      if (regions.drawn()) { if (box[2] >= 8 && box[3] >= 8) regions.set(box); }
      else if (tool && box[2] >= 32 && box[3] >= 32) fields.forEach((field, n) => { field.value = box[n]; });
    }
    store();
  });
  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, () => { from = null; });
  for (const field of fields) field.addEventListener("input", paint);
  regions = useRegions(paint, choose);
  paint();
}

function count() {
  const shown = document.querySelector("output[data-chosen]");
  if (!shown) return;
  const update = () => {
    const chosen = document.querySelectorAll(".thumbs input:checked").length;
    shown.textContent = chosen ? shown.dataset.chosen.replace("{count}", chosen) : "";
  };
  document.addEventListener("change", update);
  update();
}

useSlider();
predict();
draw();
count();
watch();
