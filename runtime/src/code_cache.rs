//! Machine code kept on disk: a program that was compiled once starts without code generation.
//!
//! The cache is a folder with a file a kernel, named by the kernel's [key](CodeKey). Nothing in it is needed: files may be
//! deleted at any time, by anybody, while programs run.
//!
//! What is in the files is executed. So a folder is used only if it belongs to the user who runs the program and nobody
//! else can write to it, and so is each file in it; and a file whose checksum is not that of its contents, or that
//! carries another key than its name, is none. On systems without owners and modes only the latter is checked.

use std::{
    fs::{self, DirBuilder, File, Metadata},
    io::{self, Read, Write},
    path::{Path, PathBuf},
    sync::Once,
    time::{Duration, SystemTime},
};
use visage_compiler::cpu::{CodeKey, CodeStore};

/// Bytes of all files beyond which those that were not used for longest are deleted.
pub const LIMIT: u64 = 256 << 20;

/// How a file begins.
const MAGIC: [u8; 8] = *b"visage 1";
const KEY: usize = 32;
const CHECKSUM: usize = 32;
const EXTENSION: &str = "code";
const PARTIAL: &str = ".partial";

/// A file's time says when it was last used, to within this.
const FRESH: Duration = Duration::from_secs(3600);

/// The user's folder for it: `visage/code` in `$XDG_CACHE_HOME`, or else in `~/.cache`; none without a home.
pub fn user_folder() -> Option<PathBuf> {
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let caches = std::env::var_os("XDG_CACHE_HOME").and_then(|path| absolute(path.into()));
    let caches = caches.or_else(|| Some(absolute(std::env::home_dir()?)?.join(".cache")))?;
    Some(caches.join("visage").join("code"))
}

/// A folder of machine code.
#[derive(Debug)]
pub struct CodeCache {
    folder: PathBuf,
    limit: u64,
}

impl CodeCache {
    /// The cache in a folder, which is made if it is not there.
    ///
    /// # Errors
    /// It cannot be made, or others could put files into it.
    pub fn open(folder: &Path, limit: u64) -> io::Result<CodeCache> {
        let mut builder = DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder)?;
        own(&fs::metadata(folder)?)?;
        Ok(CodeCache { folder: folder.to_owned(), limit })
    }

    /// The cache in a folder; where that cannot be used, none, and a warning, once a process.
    pub fn open_if_possible(folder: &Path, limit: u64) -> Option<CodeCache> {
        CodeCache::open(folder, limit).map_err(|error| warn(folder, &error)).ok()
    }

    fn path(&self, key: &CodeKey) -> PathBuf {
        self.folder.join(key.to_string()).with_extension(EXTENSION)
    }

    fn read(&self, key: &CodeKey) -> io::Result<Vec<u8>> {
        let mut file = File::open(self.path(key))?;
        let metadata = file.metadata()?;
        own(&metadata)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let code = contents(&bytes, key).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "it is damaged"))?;
        let used = metadata.modified()?;
        if used.elapsed().is_ok_and(|age| age > FRESH) {
            file.set_modified(SystemTime::now())?;
        }
        Ok(code.to_vec())
    }

    fn write(&self, key: &CodeKey, code: &[u8]) -> io::Result<()> {
        let mut file = tempfile::Builder::new().prefix(".").suffix(PARTIAL).tempfile_in(&self.folder)?;
        let head = [&MAGIC[..], key.bytes()].concat();
        for part in [&head, code, &checksum(&head, code)] {
            file.write_all(part)?;
        }
        // Not synced: what a power cut makes of it fails its checksum.
        file.persist(self.path(key)).map_err(|error| error.error)?;
        Ok(())
    }

    /// Deletes what was not used for longest until what is left is well within the limit, and what writers that were
    /// killed have left.
    pub fn trim(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let mut files: Vec<(SystemTime, u64, PathBuf)> = Vec::new();
        for entry in entries.flatten() {
            let path = entry.path();
            let Ok(metadata) = entry.metadata() else { continue };
            let Ok(used) = metadata.modified() else { continue };
            let name = entry.file_name();
            if name.to_string_lossy().ends_with(PARTIAL) && used.elapsed().is_ok_and(|age| age > FRESH) {
                let _ = fs::remove_file(path);
            } else if path.extension().is_some_and(|extension| extension == EXTENSION) {
                files.push((used, metadata.len(), path));
            }
        }
        let mut total: u64 = files.iter().map(|(_, bytes, _)| bytes).sum();
        if total <= self.limit {
            return;
        }
        files.sort();
        for (_, bytes, path) in files {
            // Some room, so that the next program does not have to look for it again.
            if total <= self.limit / 4 * 3 {
                break;
            }
            // Another process may have been faster.
            let _ = fs::remove_file(path);
            total -= bytes;
        }
    }
}

// SAFETY: a file counts only if it belongs to this user, if nobody else can write to it, and if its checksum, over key and
// code, holds: it is what `write` was given by a process of this user.
unsafe impl CodeStore for CodeCache {
    fn load(&self, key: &CodeKey) -> Option<Vec<u8>> {
        match self.read(key) {
            Ok(code) => Some(code),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::debug!("{}: {error}; it is made anew", self.path(key).display());
                None
            }
        }
    }

    fn keep(&self, key: &CodeKey, code: &[u8]) {
        if let Err(error) = self.write(key, code) {
            warn(&self.folder, &error);
        }
    }
}

/// Says once a process that the cache cannot be used.
fn warn(folder: &Path, error: &io::Error) {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing::warn!("machine code is not kept in {}: {error}", folder.display()));
}

/// Fails if somebody else could have written what this is of.
#[cfg(unix)]
fn own(metadata: &Metadata) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt;
    let denied = |problem: &str| Err(io::Error::new(io::ErrorKind::PermissionDenied, problem.to_owned()));
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return denied("it belongs to another user");
    }
    if metadata.mode() & 0o022 != 0 {
        return denied("others can write to it");
    }
    Ok(())
}

#[cfg(not(unix))]
fn own(_: &Metadata) -> io::Result<()> {
    Ok(())
}

fn checksum(head: &[u8], code: &[u8]) -> [u8; CHECKSUM] {
    *blake3::Hasher::new().update(head).update(code).finalize().as_bytes()
}

/// The code in a file that is whole and of this key.
fn contents<'a>(bytes: &'a [u8], key: &CodeKey) -> Option<&'a [u8]> {
    let (head, rest) = bytes.split_at_checked(MAGIC.len() + KEY)?;
    let (code, sum) = rest.split_at_checked(rest.len().checked_sub(CHECKSUM)?)?;
    let expected = [&MAGIC[..], key.bytes()].concat();
    (head == expected && sum == checksum(head, code)).then_some(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> CodeKey {
        CodeKey::from_bytes([byte; KEY])
    }

    fn cache(folder: &Path) -> CodeCache {
        CodeCache::open(&folder.join("code"), LIMIT).unwrap()
    }

    #[test]
    fn what_was_kept_is_found_under_its_key_alone() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        assert_eq!(cache.load(&key(1)), None);
        cache.keep(&key(1), b"code");
        cache.keep(&key(2), b"");
        assert_eq!(cache.load(&key(1)).unwrap(), b"code");
        assert_eq!(cache.load(&key(2)).unwrap(), b"");
        assert_eq!(cache.load(&key(3)), None);
        fs::rename(cache.path(&key(1)), cache.path(&key(3))).unwrap();
        assert_eq!(cache.load(&key(3)), None, "a file of another key");
    }

    #[test]
    fn a_damaged_file_is_none_and_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        let code: Vec<u8> = (0..100).collect();
        cache.keep(&key(1), &code);
        let path = cache.path(&key(1));
        let whole = fs::read(&path).unwrap();
        // Every byte of the head, the code and the checksum.
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&path, &bytes).unwrap();
            assert_eq!(cache.load(&key(1)), None, "byte {at} flipped");
            fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(cache.load(&key(1)), None, "{at} bytes");
        }
        fs::write(&path, [&whole[..], &[0]].concat()).unwrap();
        assert_eq!(cache.load(&key(1)), None, "a byte too many");
        cache.keep(&key(1), &code);
        assert_eq!(cache.load(&key(1)).unwrap(), code);
    }

    #[test]
    fn the_oldest_files_go_when_there_are_too_many() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CodeCache::open(folder.path(), 4000).unwrap();
        let hours = |count: u64| SystemTime::now() - Duration::from_secs(3600 * count);
        for byte in 0..5 {
            cache.keep(&key(byte), &[byte; 928]);
            let file = File::options().write(true).open(cache.path(&key(byte))).unwrap();
            file.set_modified(hours(100 - u64::from(byte))).unwrap();
        }
        // What is used is young again.
        assert!(cache.load(&key(0)).is_some());
        fs::write(folder.path().join("notes"), [0; 8000]).unwrap();
        let left = folder.path().join(".x.partial");
        File::create(&left).unwrap().set_modified(hours(2)).unwrap();
        let in_use = folder.path().join(".y.partial");
        File::create(&in_use).unwrap();
        cache.trim();
        let found: Vec<bool> = (0..5).map(|byte| cache.load(&key(byte)).is_some()).collect();
        assert_eq!(found, [true, false, false, true, true]);
        assert!(folder.path().join("notes").exists(), "a stranger's file");
        assert!(!left.exists() && in_use.exists());
    }

    #[cfg(unix)]
    #[test]
    fn what_others_could_have_written_is_not_believed() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        cache.keep(&key(1), b"code");
        for (bits, believed) in [(0o644, true), (0o664, false), (0o646, false), (0o600, true)] {
            mode(&cache.path(&key(1)), bits);
            assert_eq!(cache.load(&key(1)).is_some(), believed, "{bits:o}");
        }
        for (bits, believed) in [(0o770, false), (0o1777, false), (0o755, true)] {
            mode(&cache.folder, bits);
            assert_eq!(CodeCache::open(&cache.folder, LIMIT).is_ok(), believed, "{bits:o}");
        }
        let made = fs::metadata(&cache.folder).unwrap().permissions().mode();
        assert_eq!(made & 0o7777, 0o755);
        let parents = folder.path().join("a/b/c");
        CodeCache::open(&parents, LIMIT).unwrap();
        assert_eq!(fs::metadata(parents).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[test]
    fn a_folder_that_cannot_be_written_costs_nothing_but_time() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        fs::remove_dir(&cache.folder).unwrap();
        fs::write(&cache.folder, "a file").unwrap();
        cache.keep(&key(1), b"code");
        assert_eq!(cache.load(&key(1)), None);
        cache.trim();
        assert!(CodeCache::open_if_possible(&cache.folder, LIMIT).is_none());
    }

    #[test]
    fn writers_and_readers_at_the_same_time_see_whole_files() {
        let folder = tempfile::tempdir().unwrap();
        let cache = cache(folder.path());
        let codes: Vec<Vec<u8>> = (0..4).map(|byte| vec![byte; 10_000]).collect();
        std::thread::scope(|scope| {
            for code in &codes {
                let cache = CodeCache::open(&cache.folder, LIMIT).unwrap();
                scope.spawn(move || (0..50).for_each(|_| cache.keep(&key(7), code)));
            }
            for _ in 0..200 {
                if let Some(found) = cache.load(&key(7)) {
                    assert!(codes.contains(&found));
                }
            }
        });
        assert!(codes.contains(&cache.load(&key(7)).unwrap()));
        assert_eq!(fs::read_dir(&cache.folder).unwrap().count(), 1, "nothing is left beside it");
    }
}
