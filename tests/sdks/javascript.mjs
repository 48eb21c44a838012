// Reads messages as Kafka's binding has them, one JSON object a line; answers with the event, written in both modes.
import { createInterface } from "node:readline";
import { Kafka } from "cloudevents";

const message = (sent) => ({
  headers: Object.fromEntries(Object.entries(sent.headers).map(([name, value]) => [name, String(value)])),
  value: Buffer.from(typeof sent.value === "string" || Buffer.isBuffer(sent.value) ? sent.value : JSON.stringify(sent.value)).toString("base64"),
});

for await (const line of createInterface({ input: process.stdin })) {
  const { headers, value } = JSON.parse(line);
  const event = Kafka.toEvent({ headers, value: Buffer.from(value, "base64").toString() });
  const { data, ...attributes } = JSON.parse(JSON.stringify(event));
  console.log(JSON.stringify({
    attributes, data, binary: message(Kafka.binary(event)), structured: message(Kafka.structured(event)),
  }));
}
