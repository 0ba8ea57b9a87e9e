//! What a store's error means, where its type does not tell: stores differ only in their words.

/// The object is not there, and its bucket is.
pub(crate) fn is_absent(error: &object_store::Error) -> bool {
    matches!(error, object_store::Error::NotFound { .. }) && !is_no_bucket(error)
}

/// The bucket or container itself is not there, by the word that the store gives for it.
pub(crate) fn is_no_bucket(error: &object_store::Error) -> bool {
    let said = error.to_string();
    ["NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist"]
        .iter()
        .any(|word| said.contains(word))
}

/// The store takes nothing without a checksum: a lock or a retention rule of its bucket asks for one.
pub(crate) fn asks_checksum(error: &object_store::Error) -> bool {
    let said = error.to_string().to_ascii_lowercase();
    said.contains("content-md5") || said.contains("x-amz-checksum") || said.contains("missingcontentmd5")
}
