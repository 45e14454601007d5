/** The library: what the command line is made of. */
export { type Clock, realClock } from './clock.js';
export type { Drive, DriveIdentity, ReadRequest, ReadResult } from './drive/drive.js';
export { openFileDrive } from './drive/file.js';
export { type ImagerDrive, openImager } from './drive/imager.js';
export { openLink } from './drive/links.js';
export { createScsiDrive, type ScsiDrive } from './drive/scsi/drive.js';
export type { ScsiPath } from './drive/scsi/path.js';
export { type ErrorCode, isLastspinError, LastspinError } from './errors.js';
export { loadHeadMap } from './head-map-files.js';
export { nodeFiles } from './image/node-files.js';
export { bringUp } from './job/bring-up.js';
export { type Case, openCase } from './job/case.js';
export { casePaths, findCase } from './job/case-files.js';
export {
  type ControlAnswer,
  type ControlRequest,
  createControl,
  type JobControl,
} from './job/control.js';
export type { JobEvent } from './job/events.js';
export { type JobEnd, runJob } from './job/job.js';
export type { JobParts } from './job/parts.js';
export type { JobState } from './job/state.js';
export type { Extent } from './map/extent.js';
export { formatMapFile, parseMapFile, sectorMapOf } from './map/mapfile.js';
export { createRunMap, type RunMap } from './map/run-map.js';
export { type Status, statuses } from './map/status.js';
export type { Pass } from './plan/pass.js';
export type { Preset } from './plan/preset-schema.js';
export { type DriveFacts, kindDefaults, rowsOf } from './plan/presets.js';
export { execPower } from './power/exec.js';
export { troublePolicies } from './power/policy.js';
export type { Power } from './power/power.js';
export { bundledPresets, loadPreset } from './preset-files.js';
export { imageResult, imageResultSchema } from './show/result.js';
