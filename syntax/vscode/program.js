"use strict";

const fs = require("node:fs");
const path = require("node:path");

/**
 * The absolute path of a program: as given, or from the folders of PATH. Relative folders in PATH do not count, so that
 * opening a folder never starts what lies in it.
 *
 * @param {string} name a name on PATH, or an absolute path
 * @param {string | undefined} folders the value of PATH
 * @returns {string | undefined} undefined when there is no such program
 */
function findProgram(name, folders) {
  const suffix = process.platform === "win32" && !name.endsWith(".exe") ? ".exe" : "";
  const places = path.isAbsolute(name) ? [""] : (folders ?? "").split(path.delimiter).filter(path.isAbsolute);
  if (name === "" || (!path.isAbsolute(name) && path.basename(name) !== name)) {
    return undefined;
  }
  return places.map((folder) => path.join(folder, name + suffix)).find(isProgram);
}

function isProgram(file) {
  try {
    fs.accessSync(file, fs.constants.X_OK);
    return fs.statSync(file).isFile();
  } catch {
    return false;
  }
}

module.exports = { findProgram };
