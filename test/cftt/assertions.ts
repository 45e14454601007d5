/** What is asked of the tool, as data: the assertions of NIST's Digital Data Acquisition specification (DA) and the
 * criteria of its specifications for write blockers (HWB, SWB), condensed to their substance, and the test cases
 * that they are looked at in. Numbers are NIST's, sentences are not. */

export interface Assertion {
  readonly id: string;
  readonly text: string;
  /** Cases whose tests look at it. */
  readonly cases: readonly string[];
  /** Why it does not bind this tool: it binds only tools that offer what it is about. */
  readonly notApplicable?: string;
}

export interface TestCase {
  readonly id: string;
  readonly text: string;
  /** What a tool must offer for the case to be chosen. */
  readonly feature: string;
  /** Why the case is not chosen: the tool does not offer the feature. */
  readonly unsupported?: string;
}

const oneTarget =
  'an image stays where its case began; a full disk is waited for with the drive parked (DA-12)';
const noCylinders =
  'a clone is byte for byte at the same addresses; moving partitions to cylinder boundaries of another geometry is not offered';

export const cases: readonly TestCase[] = [
  { id: 'DA-01', feature: 'clones', text: 'a device, through an access interface, onto a clone' },
  { id: 'DA-02', feature: 'clones', text: 'a source of another type onto a clone' },
  {
    id: 'DA-03',
    feature: 'aligned clones',
    text: 'onto an aligned clone',
    unsupported: noCylinders,
  },
  { id: 'DA-04', feature: 'clones', text: 'onto a target that is too small' },
  { id: 'DA-05', feature: 'clones', text: 'onto a target whose writing fails' },
  { id: 'DA-06', feature: 'images', text: 'a device, through an access interface, into an image' },
  { id: 'DA-07', feature: 'images', text: 'a source of another type into an image' },
  { id: 'DA-08', feature: 'images', text: 'a drive with hidden sectors' },
  { id: 'DA-09', feature: 'images', text: 'a drive with faulty sectors' },
  { id: 'DA-10', feature: 'other formats', text: 'into an image of another format' },
  { id: 'DA-11', feature: 'images', text: 'into an image whose writing fails' },
  { id: 'DA-12', feature: 'images', text: 'into an image for which there is no room' },
  {
    id: 'DA-13',
    feature: 'device switching',
    text: 'into an image that goes on on another device',
    unsupported: oneTarget,
  },
  { id: 'DA-14', feature: 'clones from images', text: 'an image onto a clone' },
  {
    id: 'DA-15',
    feature: 'aligned clones',
    text: 'an image onto an aligned clone',
    unsupported: noCylinders,
  },
  { id: 'DA-16', feature: 'clones from images', text: 'part of an image onto a clone' },
  { id: 'DA-17', feature: 'clones from images', text: 'an image onto a target that is too small' },
  {
    id: 'DA-18',
    feature: 'clones from images',
    text: 'an image onto a target whose writing fails',
  },
  { id: 'DA-19', feature: 'excess filled', text: 'onto a clone, what is behind it filled' },
  {
    id: 'DA-20',
    feature: 'aligned clones',
    text: 'onto an aligned clone, what is behind it filled',
    unsupported: noCylinders,
  },
  {
    id: 'DA-21',
    feature: 'excess filled',
    text: 'an image onto a clone, what is behind it filled',
  },
  {
    id: 'DA-22',
    feature: 'aligned clones',
    text: 'an image onto an aligned clone, what is behind it filled',
    unsupported: noCylinders,
  },
  {
    id: 'DA-23',
    feature: 'excess filled',
    text: 'part of an image onto a clone, what is behind it filled',
  },
  { id: 'DA-24', feature: 'integrity check', text: 'verify an image that is as it was' },
  { id: 'DA-25', feature: 'integrity check', text: 'verify an image that was changed' },
  { id: 'DA-26', feature: 'conversion', text: 'convert an image to another format' },
  { id: 'HWB', feature: 'write blocking, by the imager', text: 'what reaches a drive' },
  {
    id: 'SWB',
    feature: 'write blocking, by this computer',
    text: 'what other programs can do to a source while it is imaged',
  },
];

export const assertions: readonly Assertion[] = [
  {
    id: 'DA-AM-01',
    text: 'the source is read through the access interface that was named',
    cases: ['DA-01', 'DA-06'],
  },
  {
    id: 'DA-AM-02',
    text: 'the source that was named is acquired',
    cases: ['DA-01', 'DA-02', 'DA-06', 'DA-07'],
  },
  { id: 'DA-AM-03', text: 'the tool runs in its environment', cases: ['DA-06'] },
  {
    id: 'DA-AM-04',
    text: 'a clone is made where one is asked for',
    cases: ['DA-01', 'DA-02'],
  },
  {
    id: 'DA-AM-05',
    text: 'an image is made where one is asked for, on the file system named',
    cases: ['DA-06'],
  },
  {
    id: 'DA-AM-06',
    text: 'all visible sectors are acquired',
    cases: ['DA-01', 'DA-06', 'DA-07', 'DA-08', 'DA-09'],
  },
  { id: 'DA-AM-07', text: 'all hidden sectors are acquired', cases: ['DA-08'] },
  {
    id: 'DA-AM-08',
    text: 'what was acquired is what the source holds',
    cases: ['DA-01', 'DA-02', 'DA-06', 'DA-07', 'DA-08', 'DA-09'],
  },
  {
    id: 'DA-AM-09',
    text: 'errors that remain are told, with their type and place',
    cases: ['DA-09'],
  },
  {
    id: 'DA-AM-10',
    text: 'what could not be read is replaced by a benign fill',
    cases: ['DA-09'],
  },
  {
    id: 'DA-AO-01',
    text: 'the image holds what was acquired',
    cases: ['DA-06', 'DA-07', 'DA-10'],
  },
  { id: 'DA-AO-02', text: 'the image has the format asked for', cases: ['DA-10'] },
  { id: 'DA-AO-03', text: 'an error in writing the image is told', cases: ['DA-11'] },
  { id: 'DA-AO-04', text: 'too little room for the image is told', cases: ['DA-12'] },
  { id: 'DA-AO-05', text: 'no part is larger than asked for', cases: ['DA-10'] },
  { id: 'DA-AO-06', text: 'an image that is as it was is said to be', cases: ['DA-24'] },
  { id: 'DA-AO-07', text: 'an image that was changed is said to be', cases: ['DA-25'] },
  { id: 'DA-AO-08', text: 'the places that were changed are told', cases: ['DA-25'] },
  { id: 'DA-AO-09', text: 'a conversion keeps the data', cases: ['DA-26'] },
  {
    id: 'DA-AO-10',
    text: 'the image goes on on another device when one is full',
    cases: ['DA-13'],
    notApplicable: oneTarget,
  },
  { id: 'DA-AO-11', text: 'a clone is made while the source is read', cases: ['DA-01', 'DA-02'] },
  { id: 'DA-AO-12', text: 'a clone is made from an image', cases: ['DA-14', 'DA-16', 'DA-17'] },
  {
    id: 'DA-AO-13',
    text: 'the clone is written through the interface named',
    cases: ['DA-01', 'DA-14'],
  },
  {
    id: 'DA-AO-14',
    text: 'each sector has the address on the clone that it has on the source',
    cases: ['DA-01', 'DA-14'],
  },
  {
    id: 'DA-AO-15',
    text: 'an aligned clone keeps addresses within each span',
    cases: ['DA-03', 'DA-15'],
    notApplicable: noCylinders,
  },
  { id: 'DA-AO-16', text: 'a part that is asked for is cloned whole', cases: ['DA-02', 'DA-16'] },
  {
    id: 'DA-AO-17',
    text: 'sectors behind the clone stay as they were',
    cases: ['DA-01', 'DA-14'],
  },
  {
    id: 'DA-AO-18',
    text: 'sectors behind the clone are filled where asked',
    cases: ['DA-19', 'DA-21', 'DA-23'],
  },
  {
    id: 'DA-AO-19',
    text: 'a target that is too small holds what fits',
    cases: ['DA-04', 'DA-17'],
  },
  { id: 'DA-AO-20', text: 'that a clone was cut short is told', cases: ['DA-04', 'DA-17'] },
  {
    id: 'DA-AO-21',
    text: 'an error in writing a clone is told',
    cases: ['DA-05', 'DA-18'],
  },
  {
    id: 'DA-AO-22',
    text: 'hashes of segments are those of what was read',
    cases: ['DA-06', 'DA-09'],
  },
  {
    id: 'DA-AO-23',
    text: 'what the log says is right',
    cases: ['DA-06', 'DA-09'],
  },
  {
    id: 'DA-AO-24',
    text: 'the source is unchanged',
    cases: ['DA-01', 'DA-06'],
  },
  {
    id: 'HWB-01',
    text: 'no command that could change the drive is sent to it',
    cases: ['HWB'],
  },
  { id: 'HWB-02', text: 'what was asked to be read is returned', cases: ['HWB'] },
  {
    id: 'HWB-03',
    text: 'what access depends on is returned as the drive told it',
    cases: ['HWB'],
  },
  { id: 'HWB-04', text: 'errors of the drive are reported', cases: ['HWB'] },
  { id: 'SWB-01', text: 'a protected drive is not changed', cases: ['SWB'] },
  { id: 'SWB-02', text: 'nothing of a protected drive is withheld', cases: ['SWB'] },
  { id: 'SWB-03', text: 'drives that are not protected are not affected', cases: ['SWB'] },
];
