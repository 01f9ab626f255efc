// Reads resources as JSON on stdin, and writes what their published schemas say of each: the message
// of what is wrong, and the paths of fields that the schema does not know.
import { readFileSync } from "node:fs";
import { HTTPRoute } from "@kubernetes-models/gateway-api/gateway.networking.k8s.io/v1";
import * as traefik from "@kubernetes-models/traefik/traefik.io/v1alpha1";
import { ConfigMap } from "kubernetes-models/v1";
import { Ingress } from "kubernetes-models/networking.k8s.io/v1";

const kinds = { ConfigMap, HTTPRoute, Ingress, ...traefik };

function wrong(resource) {
  try {
    new kinds[resource.kind](resource).validate();
    return "";
  } catch (error) {
    return error.message;
  }
}

// A schema lets unknown fields be, and so whatever they say: a known one has a type.
function unknown(resource, within = resource.spec ?? {}, path = "spec") {
  return Object.entries(within).flatMap(([name, value]) => {
    const isPlain = value === null || typeof value !== "object";
    within[name] = isPlain ? { of: "another type" } : "another type";
    const isTaken = wrong(resource) === "";
    within[name] = value;
    const here = isTaken ? [`${path}.${name}`] : [];
    return isPlain ? here : [...here, ...unknown(resource, value, `${path}.${name}`)];
  });
}

const resources = JSON.parse(readFileSync(0));
const told = resources.map((one) => ({ wrong: wrong(one), unknown: unknown(one) }));
console.log(JSON.stringify(told));
