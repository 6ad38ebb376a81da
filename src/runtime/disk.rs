//! Files that must be there whole after a crash.
#![allow(unsafe_code)] // One call of the kernel that no crate here wraps.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::Path;

/// Has the kernel begin to write these bytes of a file to the disk, and waits for those
/// that it began with before: so that the file's end is not the first time that the disk
/// hears of it.
///
/// # Errors
/// What the disk has refused. A file that cannot be written back piece by piece is none.
pub fn write_back(file: &File, before: Range<u64>, now: Range<u64>) -> io::Result<()> {
    let all = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    for (range, flags) in [(now, libc::SYNC_FILE_RANGE_WRITE), (before, all)] {
        if range.is_empty() {
            continue;
        }
        let (start, length) = (range.start as i64, (range.end - range.start) as i64);
        // SAFETY: a descriptor that is open, and numbers; no memory is touched.
        let result = unsafe { libc::sync_file_range(file.as_raw_fd(), start, length, flags) };
        if result != 0 {
            let error = io::Error::last_os_error();
            let unable = [libc::ESPIPE, libc::ENOSYS, libc::EINVAL].map(Some);
            return match unable.contains(&error.raw_os_error()) {
                true => Ok(()),
                false => Err(error),
            };
        }
    }
    Ok(())
}

/// Makes names in a folder as durable as what they name.
///
/// # Errors
/// What the operating system says.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
