/* Sizes of the core on a machine with an operating system. */
#define LASTSPIN_WITH_READS 1
#define LASTSPIN_LINKS_MAX 8
#ifndef LASTSPIN_FRAME_BYTES_MAX
#define LASTSPIN_FRAME_BYTES_MAX 32768
#endif
#define LASTSPIN_COMMANDS_MAX 16
#define LASTSPIN_EVENTS_MAX 32
/* One command switches both rails. */
#define LASTSPIN_RAIL_GAP_MS 0
