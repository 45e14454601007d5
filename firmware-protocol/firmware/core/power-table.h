/* Made from the protocol's tables by `npm run generate`: do not edit. */
#ifndef LASTSPIN_POWER_TABLE_H
#define LASTSPIN_POWER_TABLE_H

/* Cells: a state is entered, or what else happens (P-2). */
enum {
  LASTSPIN_TO_UNKNOWN = 0,
  LASTSPIN_TO_OFF = 1,
  LASTSPIN_TO_RAMPING = 2,
  LASTSPIN_TO_ON_NOT_READY = 3,
  LASTSPIN_TO_READY = 4,
  LASTSPIN_TO_HUNG = 5,
  LASTSPIN_TO_COOLING = 6,
  LASTSPIN_TO_TRIPPED = 7,
  LASTSPIN_TO_BUSY = 8,
  LASTSPIN_TO_DONE = 9,
  LASTSPIN_TO_GONE = 0xa,
  LASTSPIN_TO_LIMIT = 0xb,
  LASTSPIN_TO_NO_DRIVE = 0xc,
  LASTSPIN_TO_SAME = 0xd,
  LASTSPIN_TO_WAIT = 0xe,
};

/* What is asked and what happens: the rows of P-2. */
enum {
  LASTSPIN_INPUT_POWER_ON = 0,
  LASTSPIN_INPUT_POWER_OFF = 1,
  LASTSPIN_INPUT_POWER_CYCLE = 2,
  LASTSPIN_INPUT_RESET = 3,
  LASTSPIN_INPUT_READ = 4,
  LASTSPIN_INPUT_IDENTIFY_PASSTHROUGH = 5,
  LASTSPIN_INPUT_PARK = 6,
  LASTSPIN_INPUT_ANY_OTHER_COMMAND = 7,
  LASTSPIN_INPUT_HELLO_LINK_CLOSES = 8,
  LASTSPIN_INPUT_BOOT = 9,
  LASTSPIN_INPUT_RESTART = 0xa,
  LASTSPIN_INPUT_RAIL_UP = 0xb,
  LASTSPIN_INPUT_RAIL_FAILED = 0xc,
  LASTSPIN_INPUT_OFF_TIME_OVER = 0xd,
  LASTSPIN_INPUT_DRIVE_READY = 0xe,
  LASTSPIN_INPUT_DRIVE_SILENT = 0xf,
  LASTSPIN_INPUT_DRIVE_GONE = 0x10,
  LASTSPIN_INPUT_OVER_CURRENT = 0x11,
  LASTSPIN_INPUT_OVER_HEAT = 0x12,
  LASTSPIN_INPUT_SILENCE = 0x13,
};

#define LASTSPIN_POWER_STATES 8
#define LASTSPIN_POWER_INPUTS 20

/* One row for each input, one cell for each state; TO(X) stands for LASTSPIN_TO_X. */
#define LASTSPIN_POWER_TABLE \
  { TO(COOLING)     , TO(RAMPING)     , TO(SAME)        , TO(SAME)        , TO(SAME)        , TO(SAME)        , TO(SAME)        , TO(LIMIT)        }, /* power on */ \
  { TO(COOLING)     , TO(SAME)        , TO(COOLING)     , TO(COOLING)     , TO(COOLING)     , TO(COOLING)     , TO(SAME)        , TO(COOLING)      }, /* power off */ \
  { TO(COOLING)     , TO(COOLING)     , TO(COOLING)     , TO(COOLING)     , TO(COOLING)     , TO(COOLING)     , TO(SAME)        , TO(COOLING)      }, /* power cycle */ \
  { TO(NO_DRIVE)    , TO(NO_DRIVE)    , TO(NO_DRIVE)    , TO(ON_NOT_READY), TO(ON_NOT_READY), TO(ON_NOT_READY), TO(NO_DRIVE)    , TO(NO_DRIVE)     }, /* reset */ \
  { TO(GONE)        , TO(GONE)        , TO(WAIT)        , TO(WAIT)        , TO(DONE)        , TO(WAIT)        , TO(GONE)        , TO(GONE)         }, /* read */ \
  { TO(NO_DRIVE)    , TO(NO_DRIVE)    , TO(WAIT)        , TO(WAIT)        , TO(DONE)        , TO(WAIT)        , TO(NO_DRIVE)    , TO(NO_DRIVE)     }, /* identify, passthrough */ \
  { TO(NO_DRIVE)    , TO(NO_DRIVE)    , TO(NO_DRIVE)    , TO(DONE)        , TO(DONE)        , TO(BUSY)        , TO(NO_DRIVE)    , TO(NO_DRIVE)     }, /* park */ \
  { TO(DONE)        , TO(DONE)        , TO(DONE)        , TO(DONE)        , TO(DONE)        , TO(DONE)        , TO(DONE)        , TO(DONE)         }, /* any other command */ \
  { TO(SAME)        , TO(SAME)        , TO(SAME)        , TO(SAME)        , TO(SAME)        , TO(SAME)        , TO(SAME)        , TO(SAME)         }, /* HELLO, link closes */ \
  { TO(OFF)         , TO(OFF)         , TO(OFF)         , TO(OFF)         , TO(OFF)         , TO(OFF)         , TO(OFF)         , TO(OFF)          }, /* boot */ \
  { TO(OFF)         , TO(OFF)         , TO(COOLING)     , TO(ON_NOT_READY), TO(ON_NOT_READY), TO(ON_NOT_READY), TO(COOLING)     , TO(TRIPPED)      }, /* restart */ \
  { TO(SAME)        , TO(SAME)        , TO(ON_NOT_READY), TO(SAME)        , TO(SAME)        , TO(SAME)        , TO(SAME)        , TO(SAME)         }, /* rail-up */ \
  { TO(SAME)        , TO(SAME)        , TO(TRIPPED)     , TO(TRIPPED)     , TO(TRIPPED)     , TO(TRIPPED)     , TO(SAME)        , TO(SAME)         }, /* rail-failed */ \
  { TO(SAME)        , TO(SAME)        , TO(SAME)        , TO(SAME)        , TO(SAME)        , TO(SAME)        , TO(OFF)         , TO(SAME)         }, /* off-time-over */ \
  { TO(SAME)        , TO(SAME)        , TO(SAME)        , TO(READY)       , TO(SAME)        , TO(READY)       , TO(SAME)        , TO(SAME)         }, /* drive-ready */ \
  { TO(SAME)        , TO(SAME)        , TO(SAME)        , TO(HUNG)        , TO(HUNG)        , TO(SAME)        , TO(SAME)        , TO(SAME)         }, /* drive-silent */ \
  { TO(SAME)        , TO(SAME)        , TO(SAME)        , TO(SAME)        , TO(ON_NOT_READY), TO(ON_NOT_READY), TO(SAME)        , TO(SAME)         }, /* drive-gone */ \
  { TO(SAME)        , TO(SAME)        , TO(TRIPPED)     , TO(TRIPPED)     , TO(TRIPPED)     , TO(TRIPPED)     , TO(SAME)        , TO(SAME)         }, /* over-current */ \
  { TO(SAME)        , TO(SAME)        , TO(TRIPPED)     , TO(TRIPPED)     , TO(TRIPPED)     , TO(TRIPPED)     , TO(SAME)        , TO(SAME)         }, /* over-heat */ \
  { TO(SAME)        , TO(SAME)        , TO(COOLING)     , TO(COOLING)     , TO(COOLING)     , TO(COOLING)     , TO(SAME)        , TO(SAME)         }, /* silence */

#endif
