// Prints the diagnostics of AsyncAPI documents, and a line with the counts of each document that is valid.
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { Parser } from "@asyncapi/parser";

const parser = new Parser();
for (const file of process.argv.slice(2)) {
  const { document, diagnostics } = await parser.parse(readFileSync(file, "utf8"));
  const name = basename(file);
  for (const one of diagnostics) {
    console.log(`${name}: ${one.severity} ${one.code} ${one.path.join("/")} ${one.message}`);
  }
  if (document) {
    const counts = [document.channels(), document.operations(), document.messages()].map((all) => all.all().length);
    console.log(`${name}: ${counts.join(" ")}`);
  }
}
