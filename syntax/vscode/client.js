"use strict";

// The client of `forge lsp`. Colours and snippets need none of this; without a `forge` there is simply no server.

const vscode = require("vscode");
const { findProgram } = require("./program");

let client;
let output;

async function activate(context) {
  output = vscode.window.createOutputChannel("forge");
  context.subscriptions.push(
    output,
    vscode.commands.registerCommand("forge.restart", restart),
    vscode.workspace.onDidGrantWorkspaceTrust(restart),
    vscode.workspace.onDidChangeConfiguration((event) => (event.affectsConfiguration("forge") ? restart() : undefined)),
  );
  await start();
}

async function deactivate() {
  const running = client;
  client = undefined;
  await running?.stop();
}

async function restart() {
  await deactivate();
  await start();
}

async function start() {
  if (!vscode.workspace.isTrusted) {
    output.appendLine("The language server starts once you trust this folder.");
    return;
  }
  const settings = vscode.workspace.getConfiguration("forge");
  const command = settings.get("command");
  const program = findProgram(command, process.env.PATH);
  if (program === undefined) {
    output.appendLine(`There is no ${JSON.stringify(command)} on PATH: no language server. See the setting forge.command.`);
    return;
  }
  const { CloseAction, ErrorAction, LanguageClient, RevealOutputChannelOn } = require("vscode-languageclient/node");
  client = new LanguageClient(
    "forge",
    "forge",
    { command: program, args: ["lsp"] },
    {
      documentSelector: settings.get("files").map((pattern) => ({ language: "yaml", scheme: "file", pattern })),
      synchronize: { fileEvents: vscode.workspace.createFileSystemWatcher("**/*.{yaml,py}") },
      outputChannel: output,
      revealOutputChannelOn: RevealOutputChannelOn.Never,
      // A forge that has no language server, or whose server fails, is said once in the output, not in a box each time.
      errorHandler: {
        error: () => ({ action: ErrorAction.Continue, handled: true }),
        closed: () => ({ action: CloseAction.DoNotRestart, handled: true }),
      },
      initializationFailedHandler: () => false,
    },
  );
  try {
    await client.start();
  } catch (error) {
    client = undefined;
    output.appendLine(`${program} lsp did not start: ${error}`);
  }
}

module.exports = { activate, deactivate };
