/* Small sizes, so that every limit is met soon. With and without a drive: two programs. */
#ifdef FUZZ_WITH_READS
#define LASTSPIN_WITH_READS 1
#define LASTSPIN_REQUESTS_MAX 4
#define LASTSPIN_BUFFER_BYTES 16384UL
#define LASTSPIN_READ_BYTES_MAX 8192UL
#define LASTSPIN_LINKS_MAX 3
#else
#define LASTSPIN_LINKS_MAX 2
#endif
#define LASTSPIN_FRAME_BYTES_MAX 600
#define LASTSPIN_COMMANDS_MAX 4
