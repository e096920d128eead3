//! Writing files that are either wholly there or not there at all.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Writes a file so that whoever opens `path`, at any instant and after any crash, finds the old
/// content or the new one, never a part.
///
/// The content goes to a hidden file beside `path`, which is synced, renamed over `path`, and made
/// durable by syncing the directory. If `write` fails, panics, or the disk is full, `path` is untouched
/// and the hidden file removed. A process killed in between leaves a `.NAME.*.partial` beside the old file.
///
/// # Errors
/// What `write` returns, or the operating system's error.
pub fn write_atomically<T, E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> Result<T, E>,
) -> Result<T, E> {
    let name = path.file_name().ok_or_else(|| {
        io::Error::new(io::ErrorKind::InvalidInput, format!("{} does not name a file", path.display()))
    })?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(name);
    prefix.push(".");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix).suffix(".partial");
    #[cfg(unix)]
    {
        // As any new file: the process's mask decides who may read it.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut partial = builder.tempfile_in(directory)?;
    let mut writer = BufWriter::with_capacity(1 << 20, partial.as_file_mut());
    let value = write(&mut writer)?;
    writer.flush()?;
    drop(writer);
    partial.as_file().sync_all()?;
    partial.persist(path).map_err(|error| error.error)?;
    sync_directory(directory)?;
    Ok(value)
}

/// Makes a rename inside a directory survive a power cut.
fn sync_directory(directory: &Path) -> io::Result<()> {
    if cfg!(unix) {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_appears_whole_and_replaces_the_old_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("weights");
        for content in ["old", "new and longer"] {
            let count = write_atomically(&path, |writer| {
                writer.write_all(content.as_bytes())?;
                io::Result::Ok(content.len())
            });
            assert_eq!(count.unwrap(), content.len());
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(names(directory.path()), ["weights"]);
    }

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("weights");
        fs::write(&path, "old").unwrap();
        let result: io::Result<()> = write_atomically(&path, |writer| {
            writer.write_all(b"half of the n")?;
            Err(io::Error::other("no space left"))
        });
        assert_eq!(result.unwrap_err().to_string(), "no space left");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(directory.path()), ["weights"]);
    }

    #[test]
    fn the_directory_must_exist_and_the_path_name_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("nowhere").join("weights");
        assert!(write_atomically(&missing, |_| io::Result::Ok(())).is_err());
        assert!(write_atomically(Path::new("/"), |_| io::Result::Ok(())).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn others_may_read_it_as_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let plain = directory.path().join("plain");
        let atomic = directory.path().join("atomic");
        fs::write(&plain, "").unwrap();
        write_atomically(&atomic, |_| io::Result::Ok(())).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&plain), mode(&atomic));
    }
}
