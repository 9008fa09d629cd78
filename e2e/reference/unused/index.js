// What the reference server imports of @atproto/aws. It uses them only where it
// is configured to.
export const KmsKeypair = undefined
export const S3BlobStore = undefined
