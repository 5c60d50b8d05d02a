//! Files that are read whole: settings name them, so they may be anything, a device without an end among them.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// What the file holds, at most `most` bytes.
///
/// # Errors
///
/// Where it cannot be read, and of kind `FileTooLarge` where it is larger.
pub(crate) fn read(file: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more tells that there is more, whatever the file says of its size.
    File::open(file)?.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let problem = format!("it is too large; at most {most} bytes are accepted");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, problem));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_be_as_large_as_it_may_and_no_larger() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "12345").unwrap();
        assert_eq!(read(file.path(), 5).unwrap(), b"12345");
        let error = read(file.path(), 4).unwrap_err();
        assert_eq!(error.to_string(), "it is too large; at most 4 bytes are accepted");
        // Its size is 0.
        assert_eq!(read(Path::new("/dev/zero"), 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
