export { RunError } from "./errors.js"
export { followRun, type FollowedRun, type FollowRunOptions, type RunEnd } from "./follow-run.js"
