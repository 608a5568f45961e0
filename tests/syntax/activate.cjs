// Activates the extension in a folder with an editor that only remembers: `node activate.cjs EXTENSION SETTINGS`.
// Prints what it did as one line of JSON. The language client is the real one; its server is a real process.

const Module = require("node:module");
const path = require("node:path");

const [extension, settings] = [process.argv[2], JSON.parse(process.argv[3])];
const said = [];
const boxes = [];

/** Whatever one asks of it: a class, a function, a number, an event; for all that the editor has and this test does not. */
function anything(name) {
  return new Proxy(class {}, {
    get: (target, key) => {
      if (key === "prototype") return target.prototype;
      if (key === Symbol.toPrimitive) return () => name;
      if (key === "then" || typeof key === "symbol") return undefined;
      return (target[key] ??= anything(`${name}.${key}`));
    },
    apply: () => anything(`${name}()`),
    construct: (target, _given, made) => Reflect.construct(target, [], made),
  });
}

const nothing = { dispose() {} };
const editor = anything("vscode");
editor.version = "1.95.0";
editor.env = { appName: "editor", language: "en" };
editor.EventEmitter = class {
  listeners = [];
  event = (listener) => (this.listeners.push(listener), nothing);
  fire = (event) => this.listeners.forEach((listener) => listener(event));
  dispose() {}
};
editor.workspace = Object.assign(anything("workspace"), {
  isTrusted: settings.trusted ?? true,
  workspaceFolders: [],
  textDocuments: [],
  notebookDocuments: [],
  getConfiguration: () => ({ get: (key) => settings[key] }),
});
editor.window = Object.assign(anything("window"), {
  visibleTextEditors: [],
  tabGroups: { all: [], onDidChangeTabs: () => nothing },
  showErrorMessage: async (text) => void boxes.push(text),
  createOutputChannel: () => ({ appendLine: (line) => said.push(line), append() {}, dispose() {}, show() {} }),
});

const load = Module._load;
Module._load = (name, ...rest) => (name === "vscode" ? editor : load(name, ...rest));

// The language client leaves one behind when its server is gone at once; an editor writes it to a log.
process.on("unhandledRejection", () => {});

(async () => {
  const { activate, deactivate } = require(path.join(extension, "client.js"));
  await activate({ subscriptions: [] });
  await deactivate();
  console.log(JSON.stringify({ said, boxes, loaded: Object.keys(require.cache).some((file) => file.includes("languageclient")) }));
})();
