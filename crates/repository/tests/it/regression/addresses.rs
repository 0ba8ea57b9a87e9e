//! Invalid S3 locations, each with its own error.

use crate::common::small;
use crate::s3_server::{env, server};
use repository::{Error, Repository, Store};

#[tokio::test]
async fn an_endpoint_or_option_that_cannot_be_is_refused_by_name() {
    let open = |options: &str| Store::open(&format!("s3://bucket?region=r&{options}"), &env("right-secret"));
    // This one ended the process.
    for endpoint in ["minio.example:9000", "localhost", "ftp://host", "https://", "//host", "minio.example"] {
        let error = open(&format!("endpoint={endpoint}")).unwrap_err();
        assert!(matches!(error, Error::Url { .. }), "{endpoint}: {error}");
        assert!(error.to_string().contains("http"), "{endpoint}: {error}");
    }
    let error = open("endpoint=https://me:hush@host").unwrap_err().to_string();
    assert!(
        !error.contains("hush") && !error.contains("me:") && error.contains("AWS_ACCESS_KEY_ID"),
        "{error}"
    );
    for value in ["yes", "true", "1", "no", "FALSE"] {
        open(&format!("virtual-hosted={value}&bulk-delete={value}")).unwrap();
    }
    for option in ["virtual-hosted=maybe", "bulk-delete=", "virtual_hosted=true"] {
        let error = open(option).unwrap_err();
        assert!(matches!(error, Error::Url { .. }), "{option}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_bucket_is_reported() {
    let (_dir, endpoint) = server().await;
    let open = || {
        Store::open(&format!("s3://nowhere/p?endpoint={endpoint}&region=r"), &env("right-secret")).unwrap()
    };
    for error in
        [Repository::open(open()).await.unwrap_err(), Repository::init(open(), &small()).await.unwrap_err()]
    {
        assert!(matches!(error, Error::NoBucket { .. }), "{error}");
        assert!(error.to_string().contains("bucket not found: s3://nowhere/p"), "{error}");
    }
}
