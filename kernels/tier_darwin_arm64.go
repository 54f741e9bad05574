package kernels

// alwaysDot says that every processor of this system has the dot product instructions: Apple's first one for Macs has them, and
// macOS 11 and 12 have no name by which to ask. Not tested on one.
const alwaysDot = true
