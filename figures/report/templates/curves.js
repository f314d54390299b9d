"use strict";
// Loss and breakdown along the slice: of one network's checkpoints and layers, or of several networks side by side.

const CATEGORIES = ["#0173b2", "#de8f05", "#029e73", "#d55e00", "#cc78bc", "#ca9161", "#949494", "#56b4e9"];
const LIMIT_DASHES = { measured: [], predicted: [7, 3], "Lemma 2": [2, 3] };
const dark = matchMedia("(prefers-color-scheme: dark)");
const ink = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const EVERY = -1;

let made = 0;

/** One network's numbers, by checkpoint and layer. */
class Slices {
  constructor(packed) {
    Object.assign(this, packed);
    for (const name of ["loss", "change", "trust"]) this[name] = floatsOf(packed[name]);
    this.evidence = bytesOf(packed.evidence);
  }

  along(values, checkpoint) {
    const count = this.etas.length;
    return values.slice(checkpoint * count, (checkpoint + 1) * count);
  }

  breakdown(checkpoint, layer, evident) {
    const [count, layers] = [this.etas.length, this.layers.length];
    return this.etas.map((_, k) => {
      const at = (checkpoint * count + k) * layers + layer;
      const known = Boolean(this.evidence[at]) || this.etas[k] === 0; // where nothing has moved, nothing has changed
      return known === evident ? this.change[at] : null;
    });
  }

  get weightLayers() {
    return this.layers.map((_, k) => k).filter((k) => this.weights[k]);
  }

  color(checkpoint) {
    return this.colors[Number(dark.matches)][checkpoint];
  }
}

class CurvesView {
  constructor(place) {
    this.place = place;
    this.networks = JSON.parse(place.querySelector("script").textContent).map((one) => new Slices(one));
    this.number = made++;
    this.several = this.networks.length > 1;
    const [first] = this.networks;
    this.choices = this.several
      ? {
          checkpoint: [["last", "last"], ["first", "first"]],
          layer: [["first", "input layer"], ["last", "output layer"]],
        }
      : {
          checkpoint: [...first.checkpoints.map((name, k) => [k, name]), ...(first.checkpoints.length > 1 ? [[EVERY, "every checkpoint"]] : [])],
          layer: first.layers.map((name, k) => [k, name]),
        };
    this.chosen = { eta: "log", values: "log" };
    this.controls();
    const keys = "Point at a curve, or focus it and press the left and right arrow keys, for its values; drag to enlarge, double-click to go back.";
    this.keys = element("p", { class: "small", id: `keys-${this.number}` }, keys);
    this.panels = [
      new Panel(this, "Loss", "loss", `slices-${this.number}`),
      new Panel(this, "Gradient breakdown", "‖g̃ − g‖ / ‖g‖", `slices-${this.number}`),
    ];
    const row = element("div", { class: "panels" }, ...this.panels.map((panel) => panel.element));
    this.limits = element("p", { class: "small" });
    place.append(row, this.limits, this.keys, this.partly());
    place.hidden = false;
    this.draw();
    dark.addEventListener("change", () => this.draw());
  }

  controls() {
    const select = (key, label, options, value) => {
      const id = `${key}-${this.number}`;
      const box = element("select", { id }, ...options.map(([value, name]) => element("option", { value }, name)));
      box.value = value;
      this.chosen[key] = box.value;
      box.addEventListener("change", () => {
        this.chosen[key] = box.value;
        this.draw();
      });
      return element("span", {}, element("label", { for: id }, label), box);
    };
    const scales = [["log", "logarithmic"], ["linear", "linear"]];
    const [first] = this.networks;
    const last = this.several ? "last" : first.checkpoints.length - 1;
    const input = this.several ? "first" : first.weightLayers[0];
    this.place.append(
      element(
        "div",
        { class: "controls" },
        select("checkpoint", "Checkpoint", this.choices.checkpoint, last),
        select("layer", "Layer of the breakdown", this.choices.layer, input),
        select("eta", "η axis", scales, "log"),
        select("values", "Value axes", scales, "log"),
      ),
    );
  }

  /** Networks with the checkpoint, the layer and the colour that are chosen of each. */
  *chosenOnes() {
    const { checkpoint, layer } = this.chosen;
    if (this.several) {
      for (const [k, network] of this.networks.entries()) {
        const weights = network.weightLayers;
        yield {
          network,
          checkpoint: checkpoint === "last" ? network.checkpoints.length - 1 : 0,
          layer: layer === "last" ? weights.at(-1) : weights[0],
          name: network.title,
          color: () => CATEGORIES[k % CATEGORIES.length],
        };
      }
      return;
    }
    const [network] = this.networks;
    const places = Number(checkpoint) === EVERY ? network.checkpoints.map((_, k) => k) : [Number(checkpoint)];
    for (const place of places)
      yield { network, checkpoint: place, layer: Number(layer), name: network.checkpoints[place], color: () => (places.length > 1 ? network.color(place) : ink("--link")) };
  }

  draw() {
    const chosen = [...this.chosenOnes()];
    const alone = chosen.length === 1;
    const loss = chosen.map((one) => ({
      label: alone ? "loss" : one.name,
      x: one.network.etas,
      y: one.network.along(one.network.loss, one.checkpoint),
      stroke: one.color,
    }));
    const breakdown = [];
    const trusts = [];
    const drawn = new Set();
    for (const one of chosen) {
      const evident = one.network.breakdown(one.checkpoint, one.layer, true);
      const noise = one.network.breakdown(one.checkpoint, one.layer, false);
      breakdown.push({ label: alone ? "measured" : one.name, x: one.network.etas, y: evident, stroke: one.color });
      if (noise.some((value) => value !== null))
        breakdown.push({ label: alone ? "no evidence" : `${one.name}, no evidence`, x: one.network.etas, y: noise, stroke: one.color, faint: true });
      const allowed = one.network.along(one.network.trust, one.checkpoint);
      const key = allowed.map((value) => shown(value)).join();
      if (!drawn.has(key))
        trusts.push({
          label: alone || (!this.several && !drawn.size) ? "deep relative trust (dashed)" : `trust (dashed), ${one.name}`,
          x: one.network.etas,
          y: allowed,
          stroke: () => (alone || !this.several ? ink("--ink") : one.color()),
          dash: [5, 4],
        });
      drawn.add(key);
    }
    const what = this.several
      ? `${this.chosen.checkpoint} checkpoints, ${this.chosen.layer === "last" ? "output" : "input"} layers`
      : `${alone ? chosen[0].name : "every checkpoint"}, ${chosen[0].network.layers[chosen[0].layer]}`;
    const limits = alone ? chosen[0].network.limits : {};
    const at = alone ? chosen[0].checkpoint : 0;
    const lines = Object.entries(limits).map(([name, values]) => [name, values[at]]).filter(([, value]) => value !== null);
    this.panels[0].draw(loss, what.split(", ")[0], lines, this.chosen);
    this.panels[1].draw([...breakdown, ...trusts], what, lines, this.chosen);
    this.limits.textContent = lines.length
      ? "Step limits, as vertical lines: " + lines.map(([name, value]) => `${name} ${shown(value)} (${DASH_NAMES[name]})`).join(", ") + "."
      : "";
  }

  partly() {
    const lost = this.networks.filter((one) => one.layers.length < one.all_layers);
    const told = lost.map((one) => `${one.layers.length} of the ${one.all_layers} tensors of ${one.title}`).join(", ");
    return element("p", { class: "small" }, lost.length ? `In this page are ${told}, evenly spread; the results have all.` : "");
  }
}

const MOST_POINTS = 60;

/** Powers of ten along a logarithmic axis, or 1, 2 and 5 times these where it has few, as many as there is room for. */
function decades(plot, number, low, high) {
  const [first, last] = [Math.floor(Math.log10(low) + 1e-9), Math.ceil(Math.log10(high) - 1e-9)];
  const steps = last - first <= 2 ? [1, 2, 5] : [1];
  const room = plot.bbox[number ? "height" : "width"] / devicePixelRatio / (number ? 30 : 60);
  const stride = Math.max(1, Math.ceil((last - first) / Math.max(1, room)));
  const found = [];
  for (let exponent = first; exponent <= last; exponent += stride)
    for (const step of steps) found.push(step * 10 ** exponent);
  return found.filter((value) => value >= low * 0.999 && value <= high * 1.001);
}
const DASH_NAMES = { measured: "solid", predicted: "dashed", "Lemma 2": "dotted" };

/** One chart: its canvas, its values below the pointer, and all of it as a table. */
class Panel {
  constructor(view, title, unit, sync) {
    Object.assign(this, { view, title, unit, sync });
    const id = `panel-${made++}`;
    this.heading = element("p", { class: "panel-title", id });
    this.canvas = element("div", { class: "chart", tabindex: "0", role: "group", "aria-labelledby": id, "aria-describedby": view.keys.id });
    this.said = element("p", { class: "unseen", "aria-live": "polite" });
    this.table = element("details", { class: "values" }, element("summary", {}, "These curves as a table"));
    this.element = element("div", { class: "panel" }, this.heading, this.canvas, this.said, this.table);
    this.table.addEventListener("toggle", () => this.fillTable());
    this.canvas.addEventListener("keydown", (event) => this.move(event));
    new ResizeObserver(() => this.plot?.setSize(this.size())).observe(this.canvas);
  }

  size() {
    return { width: Math.max(200, this.canvas.clientWidth), height: 260 };
  }

  draw(curves, what, limits, { eta, values }) {
    this.curves = curves;
    this.what = what;
    this.heading.textContent = `${this.title}: ${what}`;
    this.plot?.destroy();
    const onX = (curve) => (eta === "log" ? curve.x.map((x, k) => [x, curve.y[k]]).filter(([x]) => x > 0) : curve.x.map((x, k) => [x, curve.y[k]]));
    const onY = (value) => (Number.isFinite(value) && (values !== "log" || value > 0) ? value : null);
    const data = uPlot.join(curves.map((curve) => {
      const points = onX(curve);
      return [points.map(([x]) => x), points.map(([, y]) => onY(y))];
    }));
    this.data = data;
    const axis = (label, scale) => ({
      label,
      ...(scale === "log" ? { splits: decades, filter: (_, splits) => splits } : {}),
      labelSize: 22,
      labelFont: "13px system-ui, sans-serif",
      font: "12px system-ui, sans-serif",
      stroke: () => ink("--ink"),
      grid: { stroke: () => ink("--rule"), width: 1 },
      ticks: { stroke: () => ink("--rule"), width: 1 },
      values: (_, splits) => splits.map(onAxis),
    });
    const series = curves.map((curve) => ({
      label: curve.label,
      stroke: curve.stroke,
      width: curve.dash ? 1.5 : 2,
      dash: curve.faint ? [1, 4] : curve.dash,
      spanGaps: true,
      points: { show: !curve.dash && (curve.faint || curve.x.length < MOST_POINTS), size: curve.faint ? 4 : 5, fill: curve.faint ? ink("--paper") : curve.stroke() },
      value: (_, value) => shown(value),
    }));
    this.plot = new uPlot(
      {
        ...this.size(),
        cursor: { sync: { key: this.sync, scales: ["x", null] } },
        scales: {
          x: { time: false, distr: eta === "log" ? 3 : 1 },
          y: { distr: values === "log" ? 3 : 1 },
        },
        axes: [axis("perturbation strength η", eta), { ...axis(this.unit, values), size: 62 }],
        series: [{ label: "η", value: (_, value) => shown(value) }, ...series],
        hooks: { draw: [(plot) => this.drawLimits(plot, limits)] },
      },
      data,
      this.canvas,
    );
    this.fillTable();
  }

  drawLimits(plot, limits) {
    const { ctx, bbox } = plot;
    const { min, max } = plot.scales.x;
    ctx.save();
    ctx.strokeStyle = ink("--ink");
    ctx.lineWidth = devicePixelRatio * 1.2;
    for (const [name, value] of limits) {
      if (!(value >= min && value <= max)) continue;
      const x = plot.valToPos(value, "x", true);
      ctx.setLineDash(LIMIT_DASHES[name].map((part) => part * devicePixelRatio));
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bbox.top + bbox.height);
      ctx.stroke();
    }
    ctx.restore();
  }

  move(event) {
    const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    if (!(event.key in steps)) return;
    event.preventDefault();
    const [etas, ...values] = this.data;
    const now = this.plot.cursor.idx ?? (event.key === "ArrowLeft" ? etas.length : -1);
    const next = Math.min(etas.length - 1, Math.max(0, now + steps[event.key]));
    this.plot.setCursor({ left: this.plot.valToPos(etas[next], "x"), top: this.plot.over.clientHeight / 2 });
    const told = values.map((column, k) => [this.curves[k].label, column[next]]).filter(([, value]) => value !== null && value !== undefined);
    this.said.textContent = `η ${shown(etas[next])}: ` + told.map(([name, value]) => `${name} ${shown(value)}`).join(", ");
  }

  fillTable() {
    this.table.querySelector(".wide")?.remove();
    if (!this.table.open) return;
    const all = uPlot.join(this.curves.map((curve) => [curve.x, curve.y]));
    const rows = all[0].map((eta, k) => [shown(eta), ...all.slice(1).map((column) => shown(column[k], 6))]);
    this.table.append(tableOf([["η", ...this.curves.map((curve) => curve.label)], ...rows], `${this.title}: ${this.what}`));
  }
}
