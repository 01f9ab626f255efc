// Reads a JSON array of event streams, and prints the events of each as [name, data].
import { text } from "node:stream/consumers";
import { createParser } from "eventsource-parser";

const events = (stream) => {
  const found = [];
  const parser = createParser({
    onEvent: ({ event, data }) => found.push([event ?? "message", data]),
  });
  parser.feed(stream);
  return found;
};

process.stdout.write(JSON.stringify(JSON.parse(await text(process.stdin)).map(events)));
