// The one door to libfuse: its low-level header at the version we were written for.
#pragma once

#define FUSE_USE_VERSION 312
#include <fuse_lowlevel.h>
