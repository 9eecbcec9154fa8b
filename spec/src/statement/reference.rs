//! References: documents about the subject that lie elsewhere, such as a data sheet or another bill of
//! materials.

use super::predicate::{self, Predicate, Problem, uri};
use super::resource::{self, ResourceDescriptor};
use serde::{Deserialize, Serialize};

/// The predicate of [`predicate::REFERENCE`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reference {
    /// Who gives the documents out.
    pub attester: Attester,
    /// The documents, each with a place to fetch it from and a media type.
    pub references: Vec<ResourceDescriptor>,
}

/// Who gives documents out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Attester {
    /// Their URI.
    pub id: String,
}

impl Predicate for Reference {
    const TYPE: &'static str = predicate::REFERENCE;

    fn check(&self) -> Result<(), Problem> {
        uri("attester.id", &self.attester.id)?;
        if self.references.is_empty() {
            return Err(Problem::new(
                "references",
                "is empty, so it refers to nothing",
            ));
        }
        resource::list("references", &self.references)?;
        for (index, reference) in self.references.iter().enumerate() {
            let missing = match (&reference.download_location, &reference.media_type) {
                (None, _) => "downloadLocation",
                (_, None) => "mediaType",
                _ => continue,
            };
            let at = format!("references[{index}].{missing}");
            return Err(Problem::new(at, "is missing"));
        }
        Ok(())
    }
}
