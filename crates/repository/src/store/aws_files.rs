//! Credential files of AWS's tools: `~/.aws/credentials` and `~/.aws/config`, or those named by
//! `AWS_SHARED_CREDENTIALS_FILE` and `AWS_CONFIG_FILE`. Only keys in these files are used; a profile that refers
//! elsewhere is refused by name.

use std::collections::HashMap;
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use object_store::CredentialProvider;
use object_store::aws::AwsCredential;

use crate::StoreEnv;

/// Size limit, in case a path is wrong.
const LARGEST: u64 = 1 << 20;

/// Settings that refer to other credential sources, which are not supported.
const UNSUPPORTED: [&str; 6] =
    ["credential_process", "sso_session", "sso_start_url", "role_arn", "credential_source", "login_session"];

/// A profile, combined from both files.
#[derive(Default)]
pub(crate) struct Profile {
    name: String,
    /// The files that were searched, whether they exist or not.
    looked_at: Vec<PathBuf>,
    values: HashMap<String, String>,
    found: bool,
}

/// Names only: the values are secrets.
impl fmt::Debug for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Profile").field("name", &self.name).finish_non_exhaustive()
    }
}

/// An access key, its secret, and the token of a session if there is one.
pub(crate) struct Keys<'a> {
    pub(crate) id: &'a str,
    pub(crate) secret: &'a str,
    pub(crate) token: Option<&'a str>,
}

impl Profile {
    /// Reads the profile named by `AWS_PROFILE`, otherwise `default`. A missing file is ignored, unless a variable
    /// names it.
    pub(crate) fn read(env: &StoreEnv) -> Result<Profile, String> {
        let named = env.get("AWS_PROFILE").or(env.get("AWS_DEFAULT_PROFILE"));
        let mut profile = Profile { name: named.unwrap_or("default").to_owned(), ..Profile::default() };
        // The credentials file takes precedence: it is read last.
        for (variable, file) in
            [("AWS_CONFIG_FILE", "config"), ("AWS_SHARED_CREDENTIALS_FILE", "credentials")]
        {
            let home = || env.get("HOME").map(|home| Path::new(home).join(".aws").join(file));
            let Some(path) = env.get(variable).map(PathBuf::from).or_else(home) else { continue };
            match text_of(&path) {
                Ok(text) => profile.add(&text),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound && env.get(variable).is_none() => {
                }
                Err(error) => return Err(format!("cannot read {}: {error}", path.display())),
            }
            profile.looked_at.push(path);
        }
        if let (Some(name), false) = (named, profile.found) {
            let place = profile.place();
            return Err(format!("AWS_PROFILE names the profile `{name}`, which is not in {place}"));
        }
        Ok(profile)
    }

    /// Adds the settings below this profile's headings.
    fn add(&mut self, text: &str) {
        let mut ours = false;
        for line in text.lines() {
            // Indented lines belong to the setting above, such as `s3 =`.
            if line.starts_with([' ', '\t', '#', ';']) {
                continue;
            }
            let line = line.trim_end();
            if let Some(heading) = line.strip_prefix('[').and_then(|rest| rest.split(']').next()) {
                let heading = heading.trim();
                let heading = heading.strip_prefix("profile ").map_or(heading, str::trim);
                ours = heading == self.name;
                self.found |= ours;
            } else if let Some((key, value)) = line.split_once('=').filter(|_| ours) {
                let (key, value) = (key.trim().to_ascii_lowercase(), value.trim());
                if !value.is_empty() {
                    self.values.insert(key, value.to_owned());
                }
            }
        }
    }

    /// A setting, such as `region`.
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    /// The keys, if both are set.
    pub(crate) fn keys(&self) -> Option<Keys<'_>> {
        let (id, secret) = (self.get("aws_access_key_id")?, self.get("aws_secret_access_key")?);
        Some(Keys { id, secret, token: self.get("aws_session_token") })
    }

    fn place(&self) -> String {
        let paths: Vec<String> = self.looked_at.iter().map(|path| path.display().to_string()).collect();
        if paths.is_empty() { "any file (HOME is not set)".to_owned() } else { paths.join(" or ") }
    }

    /// Why there are no keys, and what to do.
    pub(crate) fn complaint(&self) -> String {
        let name = &self.name;
        match UNSUPPORTED.iter().find(|key| self.get(key).is_some()) {
            Some(key) => format!(
                "the profile `{name}` gets its keys by `{key}`, which is not supported: `eval \"$(aws configure \
                 export-credentials --profile {name} --format env)\"` puts them into the environment"
            ),
            None => format!("the profile `{name}` in {} has none either", self.place()),
        }
    }
}

/// Keys of a profile that are read again for each request: session keys may expire during a backup, and the user's
/// tool then rewrites the file.
#[derive(Debug)]
pub(crate) struct ProfileKeys {
    env: StoreEnv,
    /// The last valid keys, for when the file is being rewritten.
    last: Mutex<Option<Arc<AwsCredential>>>,
}

impl ProfileKeys {
    pub(crate) fn new(env: StoreEnv) -> ProfileKeys {
        ProfileKeys { env, last: Mutex::new(None) }
    }

    fn current(&self) -> Result<Arc<AwsCredential>, String> {
        let profile = Profile::read(&self.env);
        let keys = profile.as_ref().ok().and_then(Profile::keys);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match (keys, last.as_ref()) {
            (Some(keys), _) => {
                let (key_id, secret_key) = (keys.id.to_owned(), keys.secret.to_owned());
                let token = keys.token.map(str::to_owned);
                let keys = Arc::new(AwsCredential { key_id, secret_key, token });
                *last = Some(Arc::clone(&keys));
                Ok(keys)
            }
            (None, Some(last)) => Ok(Arc::clone(last)),
            (None, None) => Err(profile.map_or_else(|error| error, |profile| profile.complaint())),
        }
    }
}

#[async_trait::async_trait]
impl CredentialProvider for ProfileKeys {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        // Reading two small files takes less time than the signature.
        self.current().map_err(|message| object_store::Error::Generic { store: "S3", source: message.into() })
    }
}

fn text_of(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let read = std::fs::File::open(path)?.take(LARGEST + 1).read_to_string(&mut text)?;
    if read as u64 > LARGEST {
        return Err(std::io::Error::other("it is too large for such a file"));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CREDENTIALS: &str = "[default]\n# a comment\naws_access_key_id = AKIADEFAULT\naws_secret_access_key=s=/+e\n\n\
        [ backup ]\naws_access_key_id=AKIABACKUP\nAWS_SECRET_ACCESS_KEY = hush\naws_session_token = short\n";
    const CONFIG: &str = "[default]\nregion = eu-west-1\ns3 =\n  region = not-this\n[profile backup]\nregion=ap-seoul-1\n\
        aws_access_key_id=AKIAOLDER\n[profile sso]\nsso_session = work\nregion = r\n[profile other]\n";

    fn home() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(".aws")).unwrap();
        std::fs::write(dir.path().join(".aws/credentials"), CREDENTIALS).unwrap();
        std::fs::write(dir.path().join(".aws/config"), CONFIG).unwrap();
        dir
    }

    fn read(home: &Path, more: &[(&str, &str)]) -> Result<Profile, String> {
        let home = [("HOME", home.to_str().unwrap())];
        Profile::read(&StoreEnv::of(&[&home, more].concat()))
    }

    #[test]
    fn profiles_are_read_from_both_files() {
        let home = home();
        let profile = read(home.path(), &[]).unwrap();
        let keys = profile.keys().unwrap();
        assert_eq!((keys.id, keys.secret, keys.token), ("AKIADEFAULT", "s=/+e", None));
        assert_eq!(profile.get("region"), Some("eu-west-1"));
        let profile = read(home.path(), &[("AWS_PROFILE", "backup")]).unwrap();
        let keys = profile.keys().unwrap();
        assert_eq!((keys.id, keys.secret, keys.token), ("AKIABACKUP", "hush", Some("short")));
        assert_eq!(profile.get("region"), Some("ap-seoul-1"));
        assert!(!format!("{profile:?}").contains("hush"));
        // Without HOME, and without files, nothing is found.
        assert!(Profile::read(&StoreEnv::default()).unwrap().keys().is_none());
        let empty = tempfile::tempdir().unwrap();
        assert!(read(empty.path(), &[]).unwrap().complaint().contains(".aws/credentials"));
    }

    #[test]
    fn what_cannot_be_followed_is_named() {
        let home = home();
        let sso = read(home.path(), &[("AWS_PROFILE", "sso")]).unwrap();
        assert!(sso.keys().is_none() && sso.complaint().contains("`sso_session`"), "{}", sso.complaint());
        let other = read(home.path(), &[("AWS_PROFILE", "other")]).unwrap();
        assert!(other.complaint().contains("`other`"), "{}", other.complaint());
        let error = read(home.path(), &[("AWS_PROFILE", "nobody")]).unwrap_err();
        assert!(error.contains("`nobody`"), "{error}");
        let error = read(home.path(), &[("AWS_SHARED_CREDENTIALS_FILE", "/nowhere/at/all")]).unwrap_err();
        assert!(error.contains("/nowhere/at/all"), "{error}");
        let elsewhere = home.path().join("elsewhere");
        std::fs::write(&elsewhere, "[default]\naws_access_key_id=A\naws_secret_access_key=B\n").unwrap();
        let named = [("AWS_SHARED_CREDENTIALS_FILE", elsewhere.to_str().unwrap())];
        assert_eq!(read(home.path(), &named).unwrap().keys().unwrap().id, "A");
    }
}
