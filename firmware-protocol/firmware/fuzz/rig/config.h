/* The core as a test drives it: a small imager with a drive and two links, on a clock of the test's. */
#define LASTSPIN_WITH_READS 1
#define LASTSPIN_LINKS_MAX 2
#ifndef RIG_FRAME_BYTES_MAX
#define RIG_FRAME_BYTES_MAX 300
#endif
#define LASTSPIN_FRAME_BYTES_MAX RIG_FRAME_BYTES_MAX
#define LASTSPIN_REQUESTS_MAX 4
#define LASTSPIN_BUFFER_BYTES 16384UL
#define LASTSPIN_READ_BYTES_MAX 8192UL
#define LASTSPIN_COMMANDS_MAX 4
#define LASTSPIN_PARK_MS 2000
