(() => {
  // ---- the graph: every text in it is data, and reaches the page as textContent only

  const byId = (id) => document.getElementById(id);
  const data = JSON.parse(byId("graph-data").textContent);
  const [canvas, stage, panel, search] = ["canvas", "stage", "panel", "search"].map(byId);
  const picture = stage.querySelector("svg");
  const elements = new Map([...picture.querySelectorAll("g.object")].map((element) => [element.id, element]));
  const lines = [...picture.querySelectorAll("g.line")].map((element) => ({
    element, from: element.dataset.from, to: element.dataset.to,
  }));
  const clusters = [...picture.querySelectorAll("g.cluster")];
  const view = pictureView(canvas, stage, picture, byId("scale"));
  const cards = new Map(Object.entries(data.cards));

  const nodes = new Map(data.nodes.map((node) => [node.path, node]));
  const settings = new Map(); // path of a value or a reference -> where it stands
  for (const node of data.nodes) for (const row of node.rows) settings.set(row.path, { node, row });

  /** Where the last step of a path, up to an end, begins. */
  const cut = (path, end) => (end > 0 ? Math.max(path.lastIndexOf(".", end - 1), path.lastIndexOf("[", end - 1)) : -1);

  /** The node and, when the path leads to a plain value, its row; references on the way are followed. */
  function resolve(path) {
    for (let hops = 0; hops < 20; hops += 1) {
      const place = settings.get(path);
      if (place && place.row.to !== undefined && place.row.to !== path && !("text" in place.row)) path = place.row.to;
      if (nodes.has(path)) return { node: nodes.get(path) };
      if (place) return place;
      let end = cut(path, path.length);
      while (end > 0 && settings.get(path.slice(0, end))?.row.to === undefined) end = cut(path, end);
      if (end <= 0) return null;
      const reference = settings.get(path.slice(0, end)).row.to;
      if (reference === path.slice(0, end)) return null;
      path = reference + path.slice(end);
    }
    return null;
  }

  function make(name, options, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(options || {})) {
      if (key === "class") element.className = value;
      else if (key === "click") element.addEventListener("click", value);
      else element.setAttribute(key, value);
    }
    element.append(...children.filter((child) => child !== null && child !== undefined));
    return element;
  }

  function swatch(hue) {
    const space = "http://www.w3.org/2000/svg";
    const [drawing, frame, dot] = ["svg", "g", "rect"].map((name) => document.createElementNS(space, name));
    for (const [name, value] of Object.entries({ x: 1, y: 1, width: 10, height: 10, rx: 3 })) dot.setAttribute(name, value);
    drawing.setAttribute("class", "swatch");
    drawing.setAttribute("viewBox", "0 0 12 12");
    drawing.setAttribute("aria-hidden", "true");
    frame.setAttribute("class", hue);
    dot.setAttribute("class", "tip");
    frame.append(dot);
    drawing.append(frame);
    return drawing;
  }

  const hueOf = (element) => [...(element?.classList ?? [])].find((name) => /^g\d+$/.test(name)) ?? "";
  const counted = (number, one, many) => `${number} ${number === 1 ? one : many}`;

  // ---- the selected node

  const nodeOf = (element) => cards.get(element.id).nodes[0];
  const pathInAddress = () => {
    const found = /^#node=(.*)$/.exec(location.hash);
    try { return found ? decodeURIComponent(found[1]) : null; } catch { return null; }
  };
  const address = (path) => `#node=${encodeURIComponent(path).replace(/%5B/g, "[").replace(/%5D/g, "]")}`;

  function go(path) {
    if (pathInAddress() === path) return select(path);
    location.hash = address(path); // the event behind it selects
  }

  /** A card that was clicked is where the user looks: it need not come closer. */
  function pick(card) {
    const path = nodeOf(card);
    if (pathInAddress() !== path) history.pushState(null, "", address(path));
    select(path, { readable: false });
  }

  function leave() {
    if (panel.contains(document.activeElement)) picture.querySelector(".selected")?.focus({ preventScroll: true });
    if (location.hash) history.replaceState(null, "", location.pathname + location.search);
    select(null);
  }

  function select(path, { readable = true } = {}) {
    for (const element of picture.querySelectorAll(".selected, .near")) element.classList.remove("selected", "near");
    const found = path === null ? null : resolve(path);
    const element = found && elements.get(found.node.card);
    picture.classList.toggle("selecting", Boolean(element));
    panel.hidden = !found;
    if (!found) return;
    panel.replaceChildren(...describe(found.node, found.row));
    panel.scrollTop = 0;
    panel.querySelector(".chosen")?.scrollIntoView({ block: "nearest" });
    if (!element) return;
    if (cards.get(found.node.card).group) fold(cards.get(found.node.card).group, false);
    element.classList.add("selected", "near");
    for (const line of lines) {
      if (line.from !== element.id && line.to !== element.id) continue;
      line.element.classList.add("near");
      for (const end of [line.from, line.to]) elements.get(end)?.classList.add("near");
    }
    if (view.isWhole() && !readable) view.fit({ glide: true });
    view.reveal(element, readable);
  }

  addEventListener("hashchange", () => select(pathInAddress()));
  for (const [id, element] of elements) {
    const path = cards.get(id).nodes[0];
    element.setAttribute("tabindex", "0");
    element.setAttribute("role", "button");
    element.setAttribute("aria-label", [path || data.name, nodes.get(path).leaf].filter(Boolean).join(", "));
    element.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      go(path);
      panel.focus({ preventScroll: true });
    });
  }

  canvas.addEventListener("click", (event) => {
    if (event.target.closest("#zoom")) return;
    event.preventDefault(); // links to files in the picture
    if (view.wasDragged()) return;
    const card = event.target.closest("g.object");
    if (card) pick(card); else leave();
  });

  // ---- what the panel says

  const SORTS = { object: "Object", partial: "Partial: called later with more arguments", map: "Mapping", list: "List", symbol: "Taken as it is" };
  const link = (path, text = path || data.name) => make("a", { class: "path", href: address(path) }, text);

  function describe(node, chosen) {
    const card = cards.get(node.card);
    const alike = card && card.nodes.length > 1 && card.nodes.includes(node.path) ? card.nodes : [];
    const values = node.rows.filter((row) => "text" in row || isInner(node, row));
    const parts = node.rows.filter((row) => !values.includes(row));
    const owner = node.owner ? [{ path: node.owner }] : []; // the whole config is nobody worth naming
    const users = [...owner, ...node.users.map((path) => ({ path: settings.get(path)?.node.path ?? path, text: path }))];
    const uses = parts.map(({ key, to, owned }) => (owned || key === to ? { path: to, text: key } : { path: to, before: key }));
    return [
      make("button", { class: "close", type: "button", "aria-label": "Close (Escape)", title: "Close (Escape)", click: leave }, "×"),
      make("h3", null, ...heading(node)),
      make("p", { class: "sort" }, swatch(hueOf(elements.get(node.card))), SORTS[node.kind] ?? "Value"),
      node.target === undefined ? null : make("code", { class: "target" }, node.target),
      origin(node.origin),
      section("Used by", users.length, () => links(users)),
      section("Uses", uses.length, () => links(uses)),
      section("Values", values.length, () => make("dl", null, ...values.map((row) => setting(node, row, chosen, 0)))),
      section("Alike", alike.length, () => links(alike.map((path) => ({ path, kind: path === node.path ? "this one" : "" })))),
    ].filter(Boolean);
  }

  function heading({ path }) {
    for (let end = cut(path, path.length); end > 0; end = cut(path, end)) {
      const parent = path.slice(0, end);
      if (nodes.has(parent)) return [make("a", { href: address(parent) }, parent), path.slice(end)];
    }
    return [path || data.name];
  }

  function section(title, count, content) {
    if (!count) return null;
    return make("section", null, make("h2", null, make("span", null, title), make("span", null, String(count))), content());
  }

  function links(found) {
    const items = found.map(({ before, path, text, kind }) => make("li", null,
      before === undefined ? link(path, text) : make("span", null, make("code", null, before), " → ", link(path)),
      make("span", { class: "class" }, kind ?? nodes.get(path)?.leaf ?? ""),
    ));
    return make("ul", { class: found.length > 12 ? "links many" : "links" }, ...items);
  }

  /** Whether a row holds plain data that the same card shows. */
  function isInner(node, row) {
    const held = row.owned ? nodes.get(row.to) : undefined;
    return Boolean(held) && held.card === node.card && held.target === undefined && !cards.get(held.card)?.nodes.includes(held.path);
  }

  function setting(node, row, chosen, level) {
    const box = make("div", { class: row === chosen ? "setting chosen" : "setting" });
    if (!("text" in row)) {
      const held = nodes.get(row.to);
      box.append(make("div", { class: "pair" }, make("dt", null, make("a", { href: address(row.to) }, row.key))));
      if (level < 6) box.append(make("div", { class: "inner" }, ...held.rows.map((inner) => setting(held, inner, chosen, level + 1))));
      return box;
    }
    if (row.text.length > 34 || row.key.length + row.text.length > 46) box.classList.add("long");
    const value = make("dd", { class: row.kind === "missing" ? "missing" : box.classList.contains("long") ? "long" : "" }, row.text);
    box.append(make("div", { class: "pair" }, make("dt", null, row.key), value));
    if (row.formula !== undefined) box.append(note("from ", make("code", null, row.formula)));
    if (row.to !== undefined) box.append(note("the value of ", link(row.to)));
    if (row.reads?.length) box.append(note("reads ", ...listed(row.reads)));
    if (row.users?.length) box.append(note("also used by ", ...listed(row.users)));
    const place = origin(row.origin);
    if (place) box.append(place);
    return box;
  }

  const note = (...children) => make("p", { class: "note" }, ...children);
  const listed = (paths) => paths.flatMap((path, position) => (position ? [", ", link(path)] : [link(path)]));

  function origin(number) {
    if (number === null) return null;
    const found = data.origins[number];
    const broken = found.place.length + Math.min(found.line.length, 24) > 56;
    return make("p", { class: broken ? "origin broken" : "origin", title: found.layer },
      make("span", { class: "place" }, found.place),
      found.line ? make("code", { title: found.line }, found.line) : null,
    );
  }

  // ---- groups

  const folded = new Set();
  const groups = new Map();
  for (const card of cards.values()) if (card.group) groups.set(card.group, (groups.get(card.group) ?? 0) + card.nodes.length);

  const switches = new Map([...groups].map(([group, count]) => {
    const box = make("input", { type: "checkbox" });
    box.checked = true;
    box.addEventListener("change", () => fold(group, !box.checked));
    const hue = hueOf([...elements].find(([id]) => cards.get(id).group === group)?.[1]);
    const label = make("label", { title: group }, box, swatch(hue), make("span", { class: "label" }, group), make("span", { class: "number" }, String(count)));
    const only = make("button", { class: "only", type: "button", "aria-label": `show only ${group}`, click: () => foldAllBut(group) }, "only");
    byId("group-list").append(make("li", null, label, only));
    return [group, box];
  }));

  function fold(group, away) {
    if (away === folded.has(group)) return;
    if (away) folded.add(group); else folded.delete(group);
    showFolds();
  }

  function foldAllBut(group) {
    folded.clear();
    for (const other of groups.keys()) if (other !== group) folded.add(other);
    showFolds();
  }

  function showFolds() {
    const isFolded = (id) => folded.has(cards.get(id)?.group);
    for (const [group, box] of switches) box.checked = !folded.has(group);
    for (const [id, element] of elements) element.classList.toggle("folded", isFolded(id));
    for (const line of lines) line.element.classList.toggle("folded", isFolded(line.from) || isFolded(line.to));
    for (const cluster of clusters) cluster.classList.toggle("folded", folded.has(cluster.dataset.group));
    byId("all-groups").hidden = !folded.size;
  }

  byId("all-groups").addEventListener("click", () => { folded.clear(); showFolds(); });
  byId("groups").hidden = !groups.size;

  // ---- search

  const MOST_SHOWN = 200;
  const searched = data.nodes.map((node) => ({
    node,
    head: `${node.path || data.name} ${node.target ?? ""}`.toLowerCase(),
    rows: node.rows.map((row) => ({ row, text: `${row.key} ${row.text ?? ""}`.toLowerCase() })),
  }));
  let matches = [], current = -1;

  function find(query) {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    const holds = (text) => words.every((word) => text.includes(word));
    matches = !words.length ? [] : searched.flatMap(({ node, head, rows }) => {
      if (holds(head)) return [{ node, path: node.path, why: node.target ?? "" }];
      return rows.filter(({ row, text }) => holds(text) && "text" in row)
        .map(({ row }) => ({ node, path: row.path, why: row.text }));
    });
    current = -1;
    picture.classList.toggle("searching", words.length > 0);
    const hits = new Set(matches.map((match) => match.node.card));
    for (const [id, element] of elements) element.classList.toggle("match", hits.has(id));
    byId("groups").hidden = words.length > 0 || !groups.size;
    byId("found").textContent = words.length ? counted(matches.length, "match", "matches") : "";
    byId("matches").replaceChildren(...matches.slice(0, MOST_SHOWN).map((match, position) => make("li", null,
      make("button", { type: "button", click: () => jump(position) },
        make("span", { class: "path" }, match.path || data.name), make("span", { class: "why" }, match.why)))));
  }

  function jump(position) {
    if (!matches.length) return;
    current = (position + matches.length) % matches.length;
    byId("found").textContent = `${current + 1} of ${counted(matches.length, "match", "matches")}`;
    [...byId("matches").querySelectorAll("button")].forEach((button, at) => {
      if (at === current) button.setAttribute("aria-current", "true"); else button.removeAttribute("aria-current");
      if (at === current) button.scrollIntoView({ block: "nearest" });
    });
    go(matches[current].path);
  }

  search.addEventListener("input", () => find(search.value));
  search.addEventListener("keydown", (event) => {
    if (event.key === "Enter") jump(current + (event.shiftKey ? -1 : 1));
    if (event.key === "Escape" && search.value) { search.value = ""; find(""); event.stopPropagation(); }
    else if (event.key === "Escape") search.blur();
  });

  // ---- keys and buttons

  const STEP = 80;
  const KEYS = {
    "/": () => { search.focus(); search.select(); },
    "+": () => view.zoom(1.25), "=": () => view.zoom(1.25), "-": () => view.zoom(0.8), "0": () => view.fit(),
    Escape: leave,
    ArrowLeft: () => view.move(STEP, 0), ArrowRight: () => view.move(-STEP, 0),
    ArrowUp: () => view.move(0, STEP), ArrowDown: () => view.move(0, -STEP),
  };
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input[type=search]")) return;
    if (event.key.startsWith("Arrow") && event.target.closest?.("#panel, #side")) return;
    if (!Object.hasOwn(KEYS, event.key)) return;
    event.preventDefault();
    KEYS[event.key]();
  });
  byId("zoom-in").addEventListener("click", () => view.zoom(1.25, undefined, undefined, { glide: true }));
  byId("zoom-out").addEventListener("click", () => view.zoom(0.8, undefined, undefined, { glide: true }));
  byId("fit").addEventListener("click", () => view.fit({ glide: true }));

  picture.setAttribute("role", "group");
  picture.setAttribute("aria-label", data.name);
  const objects = data.nodes.filter((node) => node.target !== undefined).length;
  byId("counts").textContent = [counted(objects, "object", "objects"), counted(groups.size, "group", "groups")].join(", ");
  view.fit();
  select(pathInAddress());
})();
