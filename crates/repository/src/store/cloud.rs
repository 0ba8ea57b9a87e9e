//! Stores over HTTP: S3 and compatible stores and, if the features are enabled, Google Cloud Storage and Azure.
//!
//! Every request goes through [`crate::http`], which retries it for as long as `retry-timeout` allows.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use object_store::ObjectStore;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, Checksum};
use object_store::prefix::PrefixStore;

use crate::store::aws_files::{Profile, ProfileKeys};
use crate::store::http::{BUDGETS, Connector, DEFAULT_BUDGET, client_options, no_retries};
use crate::store::upload_limit::UploadLimit;
use crate::{Error, Store, StoreEnv};

/// The URL option, common to all clouds, for how long a request is retried.
const RETRY_TIMEOUT: &str = "retry-timeout";

/// `90`, `90s` or `3m`.
fn duration(text: &str) -> Option<Duration> {
    let (digits, unit) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let seconds: u64 = digits.parse().ok()?;
    Some(Duration::from_secs(seconds.checked_mul(unit)?)).filter(|duration| BUDGETS.contains(duration))
}

/// A location in a bucket: the common part of all cloud URLs.
pub(crate) struct Address {
    url: url::Url,
    bucket: String,
    /// The URL for display, without its query.
    name: String,
    /// How long a request is retried.
    budget: Duration,
    uploads: Arc<UploadLimit>,
}

impl Address {
    pub(crate) fn parse(text: &str) -> Result<Address, Error> {
        let (scheme, rest) = text.split_once("://").unwrap_or((text, ""));
        let name = format!("{scheme}://{}", rest.split('?').next().unwrap_or_default());
        let hidden = format!("{scheme}://…");
        let url =
            url::Url::parse(text).map_err(|e| Error::Url { url: hidden.clone(), message: e.to_string() })?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Error::Url {
                url: hidden,
                message:
                    "credentials do not belong into a URL: they are taken from the environment, such as \
                          AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
                        .to_owned(),
            });
        }
        let bucket = url.host_str().filter(|host| !host.is_empty()).map(str::to_owned);
        let bucket =
            bucket.ok_or_else(|| Error::Url { url: name, message: "it names no bucket".to_owned() })?;
        let name = format!("{scheme}://{bucket}{}", url.path());
        let budget = url.query_pairs().find(|(key, _)| key == RETRY_TIMEOUT);
        let budget = match budget {
            None => DEFAULT_BUDGET,
            Some((_, text)) => duration(&text).ok_or_else(|| Error::Url {
                url: name.clone(),
                message: format!("`{RETRY_TIMEOUT}={text}` is not a time from 1s to 10m"),
            })?,
        };
        Ok(Address { url, bucket, name, budget, uploads: Arc::default() })
    }

    fn connector(&self) -> Connector {
        Connector::new(self.budget, Arc::clone(&self.uploads))
    }

    fn wrong(&self, message: impl Into<String>) -> Error {
        Error::Url { url: self.name.clone(), message: message.into() }
    }

    /// The options in the query; each must be one of `known`.
    fn options(&self, known: &[&str]) -> Result<Vec<(String, String)>, Error> {
        let mut options = Vec::new();
        for (key, value) in self.url.query_pairs() {
            if key == RETRY_TIMEOUT {
                continue;
            }
            if !known.contains(&key.as_ref()) {
                let known = [known, &[RETRY_TIMEOUT]].concat().join(", ");
                return Err(self.wrong(format!("unknown option `{key}`; known options: {known}")));
            }
            options.push((key.into_owned(), value.into_owned()));
        }
        Ok(options)
    }

    /// The objects under the URL's path.
    fn below(&self, objects: impl ObjectStore) -> Arc<dyn ObjectStore> {
        match self.url.path().trim_matches('/') {
            "" => Arc::new(objects),
            prefix => Arc::new(PrefixStore::new(objects, prefix)),
        }
    }

    #[cfg(any(feature = "gcs", feature = "azure"))]
    fn store(&self, objects: impl ObjectStore) -> Store {
        Store::of(self.below(objects), self.name.clone(), false, Arc::clone(&self.uploads))
    }

    /// A boolean option.
    fn switch(&self, key: &str, value: &str) -> Result<bool, Error> {
        match value.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            _ => Err(self.wrong(format!("`{key}={value}`: `true` or `false` is expected"))),
        }
    }

    /// Refuses an endpoint that is not a server's URL. The text before an `@` may be a secret, and is never shown.
    fn check_endpoint(&self, endpoint: &str) -> Result<(), Error> {
        if endpoint.contains('@') {
            return Err(self.wrong(
                "the endpoint has user information before an `@`: credentials are taken from the environment, such as \
                 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            ));
        }
        let url = url::Url::parse(endpoint);
        if url.is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.host_str().is_some()) {
            return Ok(());
        }
        let bare = endpoint.split("://").last().unwrap_or_default();
        Err(self.wrong(format!(
            "the endpoint `{endpoint}` is not a URL of a server: `https://{bare}` is expected, or `http://{bare}` for one \
             without TLS"
        )))
    }
}

/// The HTTP client uses the TLS provider that the process has installed; an existing one is fine.
fn install_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// Settings from the environment that `K` knows, in the form of the store's builder.
fn known_settings<'a, K: FromStr>(
    env: &'a StoreEnv,
    prefix: &'a str,
) -> impl Iterator<Item = (K, &'a str)> + 'a {
    env.iter()
        .filter(move |(name, _)| name.starts_with(prefix))
        .filter_map(|(name, value)| Some((name.to_ascii_lowercase().parse().ok()?, value)))
}

/// `s3://bucket/prefix`
pub(crate) fn s3(text: &str, env: &StoreEnv) -> Result<Store, Error> {
    let address = Address::parse(text)?;
    let mut builder = AmazonS3Builder::new();
    for (key, value) in known_settings::<AmazonS3ConfigKey>(env, "AWS_") {
        builder = builder.with_config(key, value);
    }
    let mut region = env.get("AWS_REGION").or(env.get("AWS_DEFAULT_REGION")).map(str::to_owned);
    let mut endpoint = env.get("AWS_ENDPOINT_URL_S3").or(env.get("AWS_ENDPOINT_URL")).map(str::to_owned);
    let (mut virtual_hosted, mut bulk_delete, mut instance) = (false, false, false);
    let known = ["endpoint", "region", "virtual-hosted", "bulk-delete", "credentials"];
    for (key, value) in address.options(&known)? {
        match key.as_str() {
            "region" => region = Some(value),
            "endpoint" => endpoint = Some(value),
            "virtual-hosted" => virtual_hosted = address.switch(&key, &value)?,
            "bulk-delete" => bulk_delete = address.switch(&key, &value)?,
            "credentials" if value == "instance" => instance = true,
            _ => return Err(address.wrong(format!("`{key}={value}`: `credentials=instance` is meant?"))),
        }
    }
    let has = |names: &[&str]| names.iter().any(|name| env.get(name).is_some());
    let has_keys = has(&["AWS_ACCESS_KEY_ID"]) && has(&["AWS_SECRET_ACCESS_KEY"]);
    if !has_keys || region.is_none() {
        let profile = Profile::read(env).map_err(|message| address.wrong(message))?;
        region = region.or_else(|| profile.get("region").map(str::to_owned));
        endpoint = endpoint.or_else(|| profile.get("endpoint_url").map(str::to_owned));
        match profile.keys() {
            _ if has_keys || instance || has(&["AWS_WEB_IDENTITY_TOKEN_FILE"]) => {}
            // The user's tool rewrites the file when the keys are renewed, possibly during a backup.
            Some(_) => builder = builder.with_credentials(Arc::new(ProfileKeys::new(env.clone()))),
            None if has(&[
                "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
            ]) => {}
            None => {
                return Err(address.wrong(format!(
                    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set, nor are the variables of a web identity or \
                     a container; {}; `credentials=instance` in the URL uses the machine's role",
                    profile.complaint()
                )));
            }
        }
    }
    let region = region.unwrap_or_else(|| "us-east-1".to_owned());
    builder = builder
        .with_bucket_name(&address.bucket)
        .with_region(region)
        .with_virtual_hosted_style_request(virtual_hosted)
        // Deleting many objects in one request is what S3-compatible stores most often lack.
        .with_disable_bulk_delete(!bulk_delete)
        .with_http_connector(address.connector())
        .with_retry(no_retries());
    let mut options = client_options(address.budget);
    if let Some(endpoint) = endpoint {
        address.check_endpoint(&endpoint)?;
        options = options.with_allow_http(endpoint.starts_with("http://"));
        builder = builder.with_endpoint(endpoint);
    }
    install_tls();
    let builder = builder.with_client_options(options);
    let build = |builder: AmazonS3Builder| builder.build().map_err(|e| address.wrong(e.to_string()));
    let plain = address.below(build(builder.clone())?);
    // For buckets with an object lock, which reject writes without a checksum. Other stores may not support such
    // headers.
    let checked = address.below(build(builder.with_checksum_algorithm(Checksum::SHA256))?);
    Ok(Store::of(plain, address.name.clone(), bulk_delete, Arc::clone(&address.uploads)).or_checked(checked))
}

/// `gs://bucket/prefix`
#[cfg(feature = "gcs")]
pub(crate) fn gcs(text: &str, env: &StoreEnv) -> Result<Store, Error> {
    use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
    let address = Address::parse(text)?;
    address.options(&[])?;
    let mut builder = GoogleCloudStorageBuilder::new();
    for (key, value) in known_settings::<GoogleConfigKey>(env, "GOOGLE_") {
        builder = builder.with_config(key, value);
    }
    install_tls();
    let builder = builder
        .with_bucket_name(&address.bucket)
        .with_http_connector(address.connector())
        .with_retry(no_retries())
        .with_client_options(client_options(address.budget));
    let objects = builder.build().map_err(|e| address.wrong(e.to_string()))?;
    Ok(address.store(objects))
}

/// `az://container/prefix`
#[cfg(feature = "azure")]
pub(crate) fn azure(text: &str, env: &StoreEnv) -> Result<Store, Error> {
    use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
    let address = Address::parse(text)?;
    address.options(&[])?;
    let mut builder = MicrosoftAzureBuilder::new();
    for (key, value) in known_settings::<AzureConfigKey>(env, "AZURE_") {
        builder = builder.with_config(key, value);
    }
    install_tls();
    let builder = builder
        .with_container_name(&address.bucket)
        .with_http_connector(address.connector())
        .with_retry(no_retries())
        .with_client_options(client_options(address.budget));
    let objects = builder.build().map_err(|e| address.wrong(e.to_string()))?;
    Ok(address.store(objects))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_for_retries_is_part_of_the_url() {
        let budget = |text: &str| Address::parse(text).map(|address| address.budget.as_secs());
        assert_eq!(budget("s3://b/p").unwrap(), 180);
        assert_eq!(budget("s3://b/p?retry-timeout=5m&region=r").unwrap(), 300);
        assert_eq!(budget("gs://b/p?retry-timeout=90").unwrap(), 90);
        for wrong in ["0", "11m", "1h", "-1s", ""] {
            let error = budget(&format!("s3://b?retry-timeout={wrong}")).unwrap_err().to_string();
            assert!(error.contains("from 1s to 10m"), "{error}");
        }
    }
}
