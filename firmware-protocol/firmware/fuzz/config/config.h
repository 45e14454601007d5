/* Sizes for the judge: a small limit, so that frames are often too long. */
#define LASTSPIN_FRAME_BYTES_MAX 300
#define LASTSPIN_ANSWER_BYTES_MAX 1024
