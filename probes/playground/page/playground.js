"use strict";
// The page's controls, and what it says to the playground.

const at = (id) => document.getElementById(id);
const REACH = 1.2;
const state = { setup: null, points: [], steps: 0, running: false, percent: [], seed: 0, frames: 0 };
const socket = new WebSocket(new URL("live", location.href.split("#")[0].replace(/^http/, "ws")));
socket.binaryType = "arraybuffer";

const ENDED = "The playground has ended. Start probe playground again, and open its new link.";
const ask = (request, value) => {
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify(value === undefined ? { do: request } : { do: request, value }));
  else if (socket.readyState !== WebSocket.CONNECTING) showError(at("error").dataset.last || ENDED);
};

function showError(text) {
  at("error").textContent = text;
  at("error").hidden = !text;
}

// ---- what the playground says

socket.addEventListener("message", ({ data }) => {
  if (typeof data !== "string") {
    drawFrame(data);
    return;
  }
  const { kind, ...content } = JSON.parse(data);
  ({ setup: takeSetup, points: takePoints, readings: takeReadings, limits: takeLimits, error: takeError, file: takeFile })[kind](content);
});
const TOO_MANY = 1013; // then the reason was told
socket.addEventListener("close", ({ code }) => {
  at("guide").textContent = "";
  if (code !== TOO_MANY) showError(ENDED);
  at("error").dataset.last = at("error").textContent;
});
socket.addEventListener("open", () => {
  const sought = stateInLink();
  if (!sought) return;
  if (sought.setup) ask("setup", sought.setup);
  if (sought.perturbation) {
    state.wanted = sought.perturbation;
    ask("perturb", sought.perturbation);
  }
  if (sought.steps) ask("go", sought.steps); // last: whatever comes after it ends it
});

function takeError({ text }) {
  showError(text);
  state.requested = null;
}
const takeReadings = (found) => showReadings(at("readings").tBodies[0], found);
const takeLimits = (found) => showLimits(at("limits").tBodies[0], found);
const takePoints = ({ points }) => {
  state.points = points;
};

function takeSetup({ setup, shareable }) {
  state.setup = setup;
  state.shareable = shareable;
  if (Object.entries(state.requested ?? {}).every(([name, value]) => setup[name] === value)) {
    state.requested = null;
    for (const [name, value] of Object.entries(setup)) {
      const field = at("setup").elements[name];
      if (field.type === "checkbox") field.checked = value;
      else if (field.type !== "number" || field !== document.activeElement) field.value = value; // typed in just now
    }
  } // else another answer is under way, and the form is ahead of this one
  const wanted = state.wanted?.percent?.length === setup.depth ? state.wanted : null;
  const kept = state.percent.length === setup.depth ? state.percent : Array(setup.depth).fill(0);
  state.percent = wanted ? [...wanted.percent] : kept;
  if (wanted) {
    state.seed = wanted.seed ?? 0;
    document.querySelector(`input[name=direction][value=${wanted.direction === "gradient" ? "gradient" : "random"}]`).checked = true;
    state.wanted = null;
  }
  makeSliders();
  document.querySelector("main").inert = false;
}

function drawFrame(data) {
  const length = new DataView(data).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  let from = 4 + length;
  const next = (count) => {
    const part = new Uint8Array(data, from, count);
    from += count;
    return part;
  };
  const area = head.map * head.map;
  const learned = next(area);
  const perturbed = head.perturbed ? next(area) : learned;
  drawMap(at("learned"), learned, head.map, state.points, REACH);
  drawMap(at("perturbed"), perturbed, head.map, state.points, REACH);
  drawNeurons(
    at("neurons"),
    head.neurons.map(([count, size]) => ({ count, size, values: next(count * size * size) })),
  );
  state.steps = head.steps;
  state.running = head.running;
  at("steps").textContent = `step ${head.steps}`;
  at("loss").textContent = `loss ${shownNumber(head.loss)}`;
  at("accuracy").textContent = `accuracy ${(100 * head.accuracy).toFixed(1)} %`;
  at("run").textContent = head.running ? "Pause" : "Train";
  document.body.dataset.frames = ++state.frames;
  guide();
  requestAnimationFrame(() => ask("seen"));
}

function takeFile({ name, content }) {
  const bytes = Uint8Array.from(atob(content), (c) => c.charCodeAt(0));
  const address = URL.createObjectURL(new Blob([bytes]));
  const link = document.createElement("a");
  [link.href, link.download] = [address, name];
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
}

// ---- what the reader does

at("run").addEventListener("click", () => {
  showError("");
  ask(state.running ? "pause" : "run");
});
at("step").addEventListener("click", () => ask("step"));
at("reset").addEventListener("click", () => {
  showError("");
  ask("reset");
});
at("speed").addEventListener("change", () => at("speed").reportValidity() && ask("speed", at("speed").valueAsNumber));
at("setup").addEventListener("submit", (event) => event.preventDefault());
at("setup").addEventListener("change", (event) => {
  showError("");
  const fields = at("setup").elements;
  if (fields.data.value === "csv" && state.setup.data !== "csv") {
    fields.data.value = state.setup.data;
    at("csv").click();
    return;
  }
  if (event.target.name === "rule") fields.lr.value = { "measured-limit": 1, fromage: 0.03, lars: 0.03 }[fields.rule.value] ?? 0.01;
  if (!at("setup").reportValidity()) {
    const wrong = at("setup").querySelector(":invalid");
    showError(`${wrong.parentElement.firstChild.textContent.trim()}: ${wrong.validationMessage}`);
    return;
  }
  state.requested = {
    data: fields.data.value,
    depth: fields.depth.valueAsNumber,
    width: fields.width.valueAsNumber,
    activation: fields.activation.value,
    rule: fields.rule.value,
    lr: fields.lr.valueAsNumber,
    batch: fields.batch.valueAsNumber,
    seed: fields.seed.valueAsNumber,
    residual: fields.residual.checked,
  };
  ask("setup", state.requested);
});

function perturbation() {
  const direction = document.querySelector("input[name=direction]:checked").value;
  return { percent: state.percent, direction, seed: state.seed };
}

let pending = false;
function perturb() {
  showAll();
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => {
    pending = false;
    ask("perturb", perturbation());
    if (!state.percent.some((value) => value > 0)) showReadings(at("readings").tBodies[0], {});
  });
}

function showAll() {
  const alike = state.percent.every((value) => value === state.percent[0]);
  at("all-value").textContent = alike ? `${state.percent[0]} %` : "different shares";
  at("all").setAttribute("aria-valuetext", alike ? `${state.percent[0]} percent` : "different shares");
  if (alike) at("all").value = state.percent[0];
}

function makeSliders() {
  at("layers").replaceChildren(
    ...state.percent.map((value, k) => {
      const label = document.createElement("label");
      label.className = "slider";
      const slider = document.createElement("input");
      Object.assign(slider, { type: "range", min: 0, max: 100, step: 0.5, value });
      const said = document.createElement("output");
      said.textContent = `${value} %`;
      slider.addEventListener("input", () => {
        state.percent[k] = slider.valueAsNumber;
        said.textContent = `${slider.value} %`;
        perturb();
      });
      label.append(`Layer ${k + 1} by `, said, slider);
      return label;
    }),
  );
  showAll();
}

at("all").addEventListener("input", () => {
  state.percent.fill(at("all").valueAsNumber);
  for (const label of at("layers").children) {
    label.querySelector("input").value = at("all").value;
    label.querySelector("output").textContent = `${at("all").value} %`;
  }
  perturb();
});
for (const choice of document.querySelectorAll("input[name=direction]")) choice.addEventListener("change", perturb);
at("another").addEventListener("click", () => {
  state.seed++;
  document.querySelector("input[name=direction][value=random]").checked = true;
  perturb();
});

at("save").addEventListener("click", () => ask("save"));
const MOST_BYTES = 1 << 20;
async function chosen(input, use) {
  const [file] = input.files;
  input.value = "";
  if (!file) return;
  showError("");
  if (file.size > MOST_BYTES) showError(`${file.name} has more than a megabyte, too much to play with`);
  else await use(file);
}
at("load").addEventListener("change", () =>
  chosen(at("load"), async (file) => {
    const bytes = new Uint8Array(await file.arrayBuffer());
    ask("load", btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join("")));
  }),
);
at("csv").addEventListener("change", () => chosen(at("csv"), async (file) => ask("csv", await file.text())));

// ---- links

function stateInLink() {
  try {
    return JSON.parse(decodeURIComponent(location.hash.slice(1)));
  } catch {
    return null;
  }
}
at("link").addEventListener("click", async () => {
  const text = JSON.stringify({ setup: state.setup, steps: state.steps, perturbation: perturbation() });
  history.replaceState(null, "", "#" + encodeURIComponent(text));
  try {
    await navigator.clipboard.writeText(location.href);
    at("link").textContent = state.shareable ? "Copied" : "Copied, without what was loaded";
  } catch {
    at("link").textContent = "It is in the address bar";
  }
  setTimeout(() => (at("link").textContent = "Copy a link to this state"), 2000);
});

// ---- the first run

function guide() {
  const [learned, moved] = [state.steps >= 100, state.percent.some((value) => value > 0)];
  const [text, place] = moved
    ? ["Right: the same network, moved. Below: how far outputs and gradients went, and how far theory lets them go.", null]
    : !state.steps
      ? ["First press Train, and watch it learn to tell blue from orange.", "run"]
      : state.running && !learned
        ? ["It learns: each step moves every layer a little.", "run"]
        : ["Now drag the slider: every layer moves by a share of its norm, until what was learned breaks.", "together"];
  if (at("guide").textContent !== text) at("guide").textContent = text;
  for (const id of ["run", "together"]) at(id).classList.toggle("next", id === place);
}
showReadings(at("readings").tBodies[0], {});
