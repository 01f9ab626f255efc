export { FollowError } from "./errors.js"
export { followRun, type FollowedRun, type FollowRunOptions, type RunEnd } from "./follow-run.js"
export { followStream, type FollowedStream, type FollowStreamOptions } from "./follow-stream.js"
export { encodeMultiChunks } from "./multi-chunks.js"
