"use strict";

// Steps through the explanation that the page embeds: one step is one hop of one packet.
// The names are those of the data: journeys, hops, frame, layers, fields, changes.
(() => {
  const NARROW = window.matchMedia("(max-width: 560px)");
  const SIGNS = { changed: "\u2260", come: "+", gone: "\u2212" };
  const ARROW = " \u2192 ";
  // Parts of a way between the middles of two boxes: where the packet is, and the arrow's shaft.
  const LEAVING = 0.4;
  const ARRIVING = 0.56;
  const SHAFT = [0.29, 0.66];

  const find = (id) => document.getElementById(id);
  const story = JSON.parse(find("data").textContent);
  const steps = story.journeys.flatMap((journey, packet) =>
    journey.hops.map((_, hop) => ({ packet, hop })));
  const last = steps.length - 1;
  let at = 0;
  let timer = null;

  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  // --- where we are ---

  function go(index, { quietly = false } = {}) {
    at = Math.min(Math.max(index, 0), last);
    const { packet, hop } = steps[at];
    if (!quietly) {
      history.replaceState(null, "", `#${packet + 1}.${hop + 1}`);
    }
    render();
  }

  function fromHash() {
    const [, packet, hop = "1"] = /^#(\d+)(?:\.(\d+))?$/.exec(location.hash) ?? [];
    const index = steps.findIndex((step) =>
      step.packet + 1 === Number(packet) && step.hop + 1 === Number(hop));
    return index < 0 ? null : index;
  }

  function stop() {
    clearInterval(timer);
    timer = null;
    find("play").textContent = "Play";
    find("play").setAttribute("aria-label", "Play");
  }

  function play() {
    if (at === last) {
      go(0);
    }
    timer = setInterval(() => {
      go(at + 1);
      if (at === last) {
        stop();
      }
    }, Number(find("speed").value));
    find("play").textContent = "Pause";
    find("play").setAttribute("aria-label", "Pause");
  }

  function jump(index) {
    stop();
    go(index);
  }

  // --- what is shown ---

  function render() {
    const { packet, hop } = steps[at];
    const journey = story.journeys[packet];
    const place = journey.hops[hop];
    document.documentElement.dataset.direction = journey.direction;
    find("where").replaceChildren(
      make("span", { class: "packet" },
        `Packet ${packet + 1} of ${story.journeys.length}, ${journey.title} `
        + `(${journey.direction}). Hop ${hop + 1} of ${journey.hops.length}: `),
      make("span", { class: "place" }, `${place.host} ${place.interface} ${place.title}`));
    find("what").replaceChildren(summary(place, hop, journey.direction),
      make("p", { class: "outcome" }, journey.outcome));
    find("layers").replaceChildren(...tables(place));
    find("bytes").replaceChildren(...dump(place));
    find("entry").replaceChildren(entry(journey.entry));
    find("sums").replaceChildren(...journey.sums.map(arithmetic));
    find("arithmetic").hidden = journey.sums.length === 0;
    showControls(packet);
    showPlan(place, journey.direction);
    showMap(journey, hop);
  }

  function showControls(packet) {
    find("slider").value = at;
    find("slider").setAttribute("aria-valuetext", find("where").textContent);
    // Not disabled: a button that has the focus would take the keys with it.
    for (const [id, end] of [["first", 0], ["back", 0], ["next", last], ["last", last]]) {
      find(id).setAttribute("aria-disabled", at === end);
    }
    for (const [number, button] of find("packets").querySelectorAll("button").entries()) {
      if (number === packet) {
        button.setAttribute("aria-current", "step");
      } else {
        button.removeAttribute("aria-current");
      }
    }
  }

  function showPlan(place, direction) {
    const active = new Set(
      place.changes.filter((change) => change.cause.kind === "step")
        .map((change) => change.cause.text));
    for (const step of document.querySelectorAll(".steps li")) {
      // FULLNAT undoes in replies what a step of requests did: its text is then another list's.
      const lit = active.has(step.textContent)
        && (step.parentNode.dataset.direction === direction || !inPlan(direction, step.textContent));
      step.classList.toggle("lit", lit);
      if (lit) {
        step.setAttribute("aria-current", "step");
      } else {
        step.removeAttribute("aria-current");
      }
    }
  }

  function inPlan(direction, text) {
    return (story.plan?.[direction] ?? []).includes(text);
  }

  function summary(place, hop, direction) {
    if (place.changes.length === 0) {
      return make("p", {}, hop === 0 ? "The packet as it sets out." : "The same packet.");
    }
    const causes = new Map();
    for (const change of place.changes) {
      const key = `${change.cause.kind} ${change.cause.text}`;
      causes.set(key, [...(causes.get(key) ?? []), change]);
    }
    // The plan's steps first, in its order; then what follows from them.
    const ways = direction === "request" ? ["request", "reply"] : ["reply", "request"];
    const plan = ways.flatMap((way) => story.plan?.[way] ?? []);
    const rank = ([{ cause }]) => {
      const step = plan.indexOf(cause.text);
      return cause.kind === "step" && step >= 0 ? step : plan.length + (cause.kind !== "setting");
    };
    const list = make("ul", { class: "causes" });
    for (const changes of [...causes.values()].sort((one, other) => rank(one) - rank(other))) {
      const { kind, text } = changes[0].cause;
      const names = new Set(changes.map((change) => change.layer));
      const fields = changes.length > 6
        ? [...names].join(", ")
        : changes.map((change) => `${change.layer} ${change.field}`).join(", ");
      list.append(make("li", { class: kind }, make("strong", {}, text), `: ${fields}`));
    }
    return list;
  }

  // A field is told by its layer's name and its own; what is gone has no place in the frame.
  function tables(place) {
    const gone = place.changes.filter((change) => change.after === null);
    const there = new Map(
      place.changes.filter((change) => change.after !== null)
        .map((change) => [`${change.layer}/${change.field}`, change]));
    const found = place.frame.layers.map((layer) => table(
      layer.name,
      `bytes ${layer.at} to ${layer.at + layer.length - 1}`,
      layer.fields.map((field) => row(field, there.get(`${layer.name}/${field.name}`)))));
    for (const name of new Set(gone.map((change) => change.layer))) {
      const rows = gone.filter((change) => change.layer === name).map((change) =>
        row({ name: change.field, text: "" }, change));
      found.push(table(name, "gone", rows));
    }
    return found;
  }

  function table(name, where, rows) {
    const heads = ["", "field", "value", "why", "bytes"].map((head) =>
      make("th", { scope: "col" }, head));
    return make("table", {},
      make("caption", {}, name, " ", make("small", {}, where)),
      make("thead", {}, make("tr", {}, ...heads)),
      make("tbody", {}, ...rows));
  }

  function row(field, change) {
    const kind = !change ? "same"
      : change.before === null ? "come" : change.after === null ? "gone" : "changed";
    const value = make("td", { class: "value" });
    if (change && change.before !== null) {
      value.append(make("del", {}, change.before));
    }
    if (kind === "changed") {
      value.append(ARROW);
    }
    if (kind === "come" || kind === "changed") {
      value.append(make("ins", {}, change.after));
    } else if (kind === "same") {
      value.append(field.text);
    }
    const end = field.at + field.length - 1;
    const where = kind === "gone" ? "" : field.length > 1 ? `${field.at}\u2013${end}` : `${field.at}`;
    const sign = make("td", { class: "sign", "aria-label": kind === "same" ? "" : kind });
    sign.append(SIGNS[kind] ?? "");
    const line = make("tr", { class: `${kind} ${change?.cause.kind ?? ""}`.trim() }, sign,
      make("th", { scope: "row" }, field.name), value,
      make("td", { class: "why" }, change?.cause.text ?? ""),
      make("td", { class: "where" }, where));
    if (kind !== "gone") {
      line.dataset.at = field.at;
      line.dataset.length = field.length;
    }
    return line;
  }

  function dump(place) {
    const bytes = place.frame.data.match(/../g) ?? [];
    const fresh = new Set();
    for (const line of find("layers").querySelectorAll("tr.come, tr.changed")) {
      const start = Number(line.dataset.at);
      for (let index = start; index < start + Number(line.dataset.length); index += 1) {
        fresh.add(index);
      }
    }
    const width = NARROW.matches ? 8 : 16;
    const lines = [];
    for (let start = 0; start < bytes.length; start += width) {
      const digits = make("span", { class: "digits" });
      const letters = make("span", { class: "letters" });
      for (let index = start; index < Math.min(start + width, bytes.length); index += 1) {
        const layer = place.frame.layers.findIndex((each) =>
          each.at <= index && index < each.at + each.length);
        const mark = `${layer % 2 ? "odd" : "even"}${fresh.has(index) ? " fresh" : ""}`;
        const code = parseInt(bytes[index], 16);
        const letter = code > 32 && code < 127 ? String.fromCharCode(code) : "\u00b7";
        digits.append(make("span", { class: mark, "data-byte": index }, bytes[index]), " ");
        letters.append(make("span", { class: mark, "data-byte": index }, letter));
      }
      const offset = make("span", { class: "offset" }, start.toString(16).padStart(4, "0"));
      lines.push(make("div", { class: "line" }, offset, digits, letters));
    }
    return lines;
  }

  function entry(row) {
    if (!row) {
      return make("p", {}, "There is no connection.");
    }
    const said = [
      ["protocol", row.protocol], ["state", row.state],
      ["expires in", `${Math.round(row.expires_s)} s`],
      ["client", row.client], ["virtual", row.virtual], ["local", row.local], ["real", row.real],
      ["of the real server", `${row.active} active, ${row.inactive} inactive`],
    ].filter(([, value]) => value !== null);
    return make("dl", {}, ...said.map(([name, value]) =>
      make("div", {}, make("dt", {}, name), make("dd", {}, value))));
  }

  // RFC 1624, equation 3: HC' = ~(~HC + ~m + m').
  function arithmetic(sum) {
    const hex = (value) => `0x${value.toString(16).padStart(4, "0")}`;
    let total = sum.before ^ 0xffff;
    const lines = [`HC = ${hex(sum.before)}`, `+ ~HC = ${hex(total)}`];
    const add = (term, value) => {
      total += value;
      total = (total & 0xffff) + (total >> 16);
      lines.push(`+ ${term} = ${hex(total)}`);
    };
    for (const [name, old, now] of sum.words) {
      add(`~${hex(old)} ${name}`, old ^ 0xffff);
      add(`${hex(now)} ${name}`, now);
    }
    lines.push(`~ = ${hex(total ^ 0xffff)}, in the packet ${hex(sum.after)}`);
    if (sum.whole !== null) {
      lines.push(`computed over everything: ${hex(sum.whole)}`);
    }
    return make("section", {},
      make("h3", {}, `${sum.layer} ${sum.field}, RFC 1624: HC' = ~(~HC + ~m + m')`),
      make("pre", {}, lines.join("\n")));
  }

  // --- the map ---

  function showMap(journey, hop) {
    const { host } = journey.hops[hop];
    const next = journey.hops[hop + 1]?.host ?? host;
    const former = journey.hops[hop - 1]?.host ?? host;
    for (const box of document.querySelectorAll("#map .host")) {
      box.classList.toggle("here", box.dataset.host === host);
    }
    if (next !== host) {
      along(host, next, LEAVING);
    } else if (former !== host) {
      along(former, host, ARRIVING);
    } else {
      const box = document.querySelector(`#map [data-host="${CSS.escape(host)}"] rect`);
      put(box.x.baseVal.value, box.y.baseVal.value + box.height.baseVal.value / 2);
      showArrow(null);
    }
  }

  function along(from, to, part) {
    const [first, second] = [from, to].sort();
    const ends = `${first} ${second}`;
    const line = document.querySelector(`#map .way[data-ends="${CSS.escape(ends)}"]`);
    const value = (name) => line[name].baseVal.value;
    const way = [[value("x1"), value("y1")], [value("x2"), value("y2")]];
    const [start, end] = from === first ? way : way.reverse();
    const point = (share) => [0, 1].map((axis) => start[axis] + share * (end[axis] - start[axis]));
    showArrow(SHAFT.map(point));
    put(...point(part));
  }

  function showArrow(ends) {
    for (const part of [find("arrow"), find("tip")]) {
      part.setAttribute("visibility", ends ? "visible" : "hidden");
    }
    if (!ends) {
      return;
    }
    for (const [number, [x, y]] of ends.entries()) {
      find("arrow").setAttribute(`x${number + 1}`, x);
      find("arrow").setAttribute(`y${number + 1}`, y);
    }
    const [[fromX, fromY], [x, y]] = ends;
    const turned = Math.atan2(y - fromY, x - fromX) * 180 / Math.PI;
    const [dx, dy] = [x - fromX, y - fromY].map((side) => 16 * side / Math.hypot(x - fromX, y - fromY));
    find("tip").setAttribute("transform", `translate(${x + dx} ${y + dy}) rotate(${turned})`);
  }

  function put(x, y) {
    find("packet").style.transform = `translate(${x}px, ${y}px)`;
  }

  // --- fields and their bytes light each other up ---

  function light(start, length) {
    const within = (index) => start <= index && index < start + length;
    for (const byte of find("bytes").querySelectorAll("[data-byte]")) {
      byte.classList.toggle("lit", within(Number(byte.dataset.byte)));
    }
    for (const line of find("layers").querySelectorAll("[data-at]")) {
      const [first, size] = [Number(line.dataset.at), Number(line.dataset.length)];
      line.classList.toggle("lit", first < start + length && start < first + size);
    }
  }

  function lightField(event) {
    const line = event.target.closest("[data-at]");
    light(Number(line?.dataset.at ?? -1), Number(line?.dataset.length ?? 0));
  }

  function lightByte(event) {
    const index = Number(event.target.closest("[data-byte]")?.dataset.byte ?? -1);
    light(index, index < 0 ? 0 : 1);
  }

  // --- what people do ---

  function key(event) {
    const target = event.target;
    const typing = target instanceof HTMLInputElement || target instanceof HTMLSelectElement;
    if (event.ctrlKey || event.altKey || event.metaKey || typing) {
      return;
    }
    const pressed = target instanceof HTMLButtonElement || target.tagName === "SUMMARY";
    const actions = {
      ArrowLeft: () => jump(at - 1),
      ArrowRight: () => jump(at + 1),
      Home: () => jump(0),
      End: () => jump(last),
      " ": pressed ? null : toggle,
    };
    const action = actions[event.key];
    if (action) {
      event.preventDefault();
      action();
    }
  }

  function toggle() {
    if (timer === null) {
      play();
    } else {
      stop();
    }
  }

  for (const [packet, journey] of story.journeys.entries()) {
    const button = make("button", { type: "button", class: journey.direction },
      `${packet + 1} ${journey.title}`);
    button.addEventListener("click", () =>
      jump(steps.findIndex((step) => step.packet === packet)));
    find("packets").append(make("li", {}, button));
  }
  find("slider").max = last;
  find("slider").addEventListener("input", () => jump(Number(find("slider").value)));
  find("first").addEventListener("click", () => jump(0));
  find("back").addEventListener("click", () => jump(at - 1));
  find("play").addEventListener("click", toggle);
  find("next").addEventListener("click", () => jump(at + 1));
  find("last").addEventListener("click", () => jump(last));
  find("speed").addEventListener("change", () => {
    if (timer !== null) {
      stop();
      play();
    }
  });
  find("layers").addEventListener("mouseover", lightField);
  find("layers").addEventListener("mouseleave", () => light(-1, 0));
  find("bytes").addEventListener("mouseover", lightByte);
  find("bytes").addEventListener("mouseleave", () => light(-1, 0));
  document.addEventListener("keydown", key);
  window.addEventListener("hashchange", () => {
    stop();
    go(fromHash() ?? at);
  });
  NARROW.addEventListener("change", render);
  document.documentElement.classList.add("js");
  find("player").hidden = false;
  go(fromHash() ?? 0, { quietly: true });
  // Where the packet is first, it is at once: the style is settled before it may move.
  find("packet").getBoundingClientRect();
  document.documentElement.classList.add("moving");
})();
