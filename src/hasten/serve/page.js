// The page of a watch: lines come as server-sent events, pictures are asked for. Whatever is named is shown as text.
"use strict";

const WIDE = 800, HIGH = 200, COLOURS = 8, EVENTS = 100, NOTES = 5, PICTURE_MS = 100, RATE_S = 2, RETRY_MS = 5000;
let about = null, sources = new Map(), reader = null, connected = false, over = false;

const at = (part, name) => part.querySelector("." + name);
const seconds = ns => (ns / 1e9).toFixed(2);
const clock = told => new Date(told * 1e3).toLocaleTimeString();
const className = label => about.classes.length ? about.classes[label] : String(label);

function made(tag, attributes, text) {
  const one = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) one.setAttribute(name, value);
  if (text !== undefined) one.textContent = text;
  return one;
}

function drawn(tag, attributes) {
  const one = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) one.setAttribute(name, value);
  return one;
}

// One source, and what has become of it: each kind of line changes it in one way, whether it is new or recent history.
class Source {
  constructor(place, number) {
    this.part = document.getElementById("source").content.firstElementChild.cloneNode(true);
    this.place = place;
    this.number = number;
    this.windows = [];  // of the last minute; null where a gap is
    this.figures = [];  // of the last seconds, for rates
    this.begun = new Map();  // class -> the row of an event that lasts
    this.picture = 0;
    this.changed = true;
    at(this.part, "place").textContent = place;
    this.part.setAttribute("aria-label", place);
    at(this.part, "picture").alt = "the newest picture of " + place;
    at(this.part, "no-picture").textContent =
      about.pictures ? "no picture so far" : "Pictures are shown where Python watches, without --cpp.";
  }

  window(line) {
    const last = this.windows.findLast(Boolean);
    if (last && line.end <= last.end) this.windows = [];
    this.windows.push(line);
    while (this.windows[0] === null || this.windows[0].end < line.end - about.trace_s * 1e9) this.windows.shift();
    this.changed = true;
  }

  gap(line) {
    if (this.windows.at(-1)) this.windows.push(null);
    this.note(line, line.to === null ? "a gap" : `a gap before ${seconds(line.to)} s`);
  }

  drop(line) { this.note(line, `${line.frames} frames dropped`); }

  note(line, text) {
    const notes = at(this.part, "notes");
    notes.prepend(made("li", {}, `${clock(line.at)} ${text}`));
    while (notes.children.length > NOTES) notes.lastChild.remove();
  }

  begin(line) {
    const row = this.row(line, "lasts");
    row.lastChild.textContent = line.latency_ms.toFixed(1);
    this.begun.set(line.label, row);
  }

  event(line) {
    const row = this.begun.get(line.label) ?? this.row(line, "");
    this.begun.delete(line.label);
    row.classList.remove("lasts");
    row.cells[3].textContent = seconds(line.end);
    row.cells[4].textContent = line.peak?.toFixed(2) ?? "–";
  }

  row(line, kind) {
    const row = made("tr", { class: kind });
    row.append(made("td", {}, clock(line.at)), made("td", {}, line.name), made("td", { class: "figure" }, seconds(line.begin)));
    for (const text of ["lasts", "", ""]) row.append(made("td", { class: "figure" }, text));
    const body = at(this.part, "events");
    body.prepend(row);
    while (body.rows.length > EVENTS) body.lastChild.remove();
    at(this.part, "none").hidden = true;
    return row;
  }

  source(line) {
    this.badge(line.said, line.said === "opened" ? "open" : "trouble");
    if (line.said !== "opened") this.note(line, line.said);
  }

  end(line) {
    this.show(line, line);
    this.badge(line.said, line.failed ? "trouble" : "");
  }

  badge(text, kind) {
    at(this.part, "badge").textContent = text;
    at(this.part, "badge").className = "badge " + kind;
    this.kind = kind;
  }

  // Rates of the last seconds: the figures are of all that has been.
  figure(line) {
    const before = this.figures.at(-1);
    if (before && line.frames > before.frames && this.kind === "trouble") this.badge("opened", "open");
    this.figures.push(line);
    while (this.figures.length > 2 && this.figures[1].seconds < line.seconds - RATE_S) this.figures.shift();
    const first = this.figures.length > 1 ? this.figures[0] : { frames: 0, stream_s: 0, seconds: 0 };
    const apart = Math.max(1e-9, line.seconds - first.seconds);
    this.show(line, { frames: line.frames - first.frames, stream_s: line.stream_s - first.stream_s, seconds: apart });
  }

  show(line, rate) {
    const said = {
      fps: (rate.frames / rate.seconds).toFixed(1), factor: (rate.stream_s / rate.seconds).toFixed(2),
      p50: line.latency_p50_ms?.toFixed(1) ?? "–", p99: line.latency_p99_ms?.toFixed(1) ?? "–",
      dropped: line.dropped, count: line.events,
    };
    for (const [name, text] of Object.entries(said)) at(this.part, name).textContent = text;
  }

  draw() {
    if (!this.changed || !this.windows.length) return;
    this.changed = false;
    const last = this.windows.at(-1) ?? this.windows.at(-2);
    const full = this.windows.filter(Boolean);
    let low = Math.min(0, about.off), high = Math.max(1, about.on);
    for (const w of full) for (const s of w.scores) if (s !== null) { low = Math.min(low, s); high = Math.max(high, s); }
    const x = end => WIDE * (1 - (last.end - end) / (about.trace_s * 1e9));
    const y = score => HIGH - (HIGH - 8) * (score - low) / (high - low) - 4;
    const lines = [["on", about.on], ["off", about.off]].map(([name, score]) =>
      drawn("line", { class: "bound " + name, x1: 0, x2: WIDE, y1: y(score), y2: y(score), "data-score": score }));
    for (const [name, text] of [["on", `begins at ${about.on}`], ["off", `ends below ${about.off}`]]) {
      at(this.part, "name-" + name).textContent = text;
      at(this.part, "name-" + name).style.top = `${100 * y(about[name]) / HIGH}%`;
    }
    const paths = last.scores.map((_, label) => {
      let d = "", pen = "M";
      for (const w of this.windows) {
        const score = w?.scores[label] ?? null;
        if (score !== null) d += `${pen}${x(w.end).toFixed(1)} ${y(score).toFixed(1)}`;
        pen = score === null ? "M" : "L";
      }
      return drawn("path", { class: look(label), d: full.length === 1 ? d + "h1" : d });
    });
    const trace = at(this.part, "trace");
    trace.replaceChildren(...lines, ...paths);
    const now = last.scores.map((s, label) => `${className(label)} ${s === null ? "–" : s.toFixed(2)}`);
    trace.setAttribute("aria-label", `scores of the last minute; now ${now.join(", ")}; an event begins at ${about.on} and ends below ${about.off}`);
    this.legend(now);
  }

  legend(now) {
    const list = at(this.part, "legend");
    if (list.children.length !== now.length + 1) {
      list.replaceChildren(...now.map((_, label) => {
        const sample = drawn("svg", { viewBox: "0 0 16 6", "aria-hidden": "true" });
        sample.append(drawn("path", { class: look(label), d: "M0 3h16" }));
        const item = made("li", {});
        item.append(sample, made("span", {}));
        return item;
      }), made("li", { class: "quiet" }, `the last ${about.trace_s} s of video; dashed: where an event begins, and below which it ends`));
    }
    now.forEach((text, label) => { list.children[label].lastChild.textContent = text; });
  }

  // The next picture is asked for when the one before it is there: who is slow sees fewer of them.
  async look() {
    while (sources.get(this.place) === this && !over) {
      const began = performance.now();
      let found = null;
      if (connected && !document.hidden) found = await fetch(`picture/${this.number}?after=${this.picture}`).catch(() => null);
      if (found?.status === 200) await this.shown(await found.blob(), Number(found.headers.get("Picture-Number")));
      await new Promise(go => setTimeout(go, Math.max(10, began + PICTURE_MS - performance.now())));
    }
  }

  async shown(blob, number) {
    const picture = at(this.part, "picture"), before = picture.src;
    this.picture = number;
    picture.src = URL.createObjectURL(blob);
    await picture.decode().catch(() => null);
    picture.hidden = false;
    picture.dataset.number = number;
    at(this.part, "no-picture").textContent = "";
    if (before) URL.revokeObjectURL(before);
  }
}

const look = label => `class c${label % COLOURS}${label >= COLOURS ? " again" : ""}`;

function hello(told) {
  about = told;
  document.getElementById("bundle").textContent = about.bundle;
  document.title = `hasten watch ${about.bundle}`;
  sources = new Map();
  about.sources.forEach((place, number) => { if (!sources.has(place)) sources.set(place, new Source(place, number)); });
  document.getElementById("sources").replaceChildren(...[...sources.values()].map(one => one.part));
  if (about.pictures) for (const one of sources.values()) one.look();
  state("connected", false);
}

function take(lines) {
  for (const line of lines) {
    const one = sources.get(line.source);
    if (line.kind === "figures") one?.figure(line);
    else if (["window", "gap", "drop", "begin", "event", "source", "end"].includes(line.kind)) one?.[line.kind](line);
  }
  requestAnimationFrame(() => { for (const one of sources.values()) one.draw(); });
}

function state(text, lost) {
  connected = !lost;
  const place = document.getElementById("state");
  place.textContent = text;
  place.className = lost ? "lost" : "";
}

// Everything that matters is told again whenever a connection is made, so a hidden page keeps none.
function connect() {
  reader?.close();
  reader = null;
  if (over || document.hidden) return;
  reader = new EventSource("lines");
  reader.addEventListener("hello", told => hello(JSON.parse(told.data)));
  reader.addEventListener("lines", told => take(JSON.parse(told.data)));
  reader.addEventListener("over", () => { over = true; reader.close(); state("the watch has ended", false); });
  reader.onerror = () => {
    state("not connected: the watch has ended, or does not answer", true);
    if (reader.readyState === EventSource.CLOSED) setTimeout(connect, RETRY_MS);
  };
}

document.addEventListener("visibilitychange", connect);
connect();
