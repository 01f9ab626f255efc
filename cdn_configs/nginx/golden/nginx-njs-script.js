// headgate cdn nginx-njs-script {"upstream":"gateway.example.com:4437","host":"streams.example.com"}
// For njs of nginx; it lies where nginx looks for what the configuration imports, beside it.
import crypto from "crypto";

const IDENTITY_HEADERS = ["Authorization", "Cookie"];

// Who a reader is, as 64 hexadecimal digits; "" for anybody. Names and values are hashed as JSON,
// so that no two lists of headers give the same text.
function reader(r) {
  const known = IDENTITY_HEADERS.filter((name) => r.headersIn[name]);
  if (!known.length) return "";
  const told = JSON.stringify(known.map((name) => [name.toLowerCase(), r.headersIn[name]]));
  return crypto.createHash("sha256").update(told).digest("hex");
}

// The query with its parameters in order. One that has a parameter twice stays as it is: servers
// do not agree which of the two counts, so its order may mean something.
function query(r) {
  const pairs = (r.variables.args || "").split("&").filter((pair) => pair);
  const names = pairs.map((pair) => pair.split("=", 1)[0]).sort();
  if (names.some((name, at) => at && name === names[at - 1])) return r.variables.args;
  return pairs.sort().join("&");
}

export default { query, reader };
