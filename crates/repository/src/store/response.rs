//! The meaning of store errors that their types do not express: stores differ in their messages.

/// The object does not exist, but its bucket does.
pub(crate) fn is_absent(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotFound { .. }) && !is_no_bucket(error)
}

/// The bucket or container does not exist, according to the store's error code.
pub(crate) fn is_no_bucket(error: &object_store::Error) -> bool {
    let said = error.to_string();
    ["NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist"]
        .iter()
        .any(|word| said.contains(word))
}

/// The store requires a checksum, because of a lock or a retention rule of the bucket.
pub(crate) fn asks_checksum(error: &object_store::Error) -> bool {
    let said = error.to_string().to_ascii_lowercase();
    said.contains("content-md5") || said.contains("x-amz-checksum") || said.contains("missingcontentmd5")
}
