//! The records that everybody writes: valid `enterprise/v1` of about 300 bytes, the same for the node and its peers.

use shuqiao_proto::v1::{Operation, PublishBatch, PublishRecord};
use shuqiao_schemas::identifier::{OrganisationCode, Uscc};

use crate::Result;

/// Records of one batch.
pub(crate) const BATCH: u64 = 200;
/// Different keys: each record is an update of one of them after the first round.
const KEYS: u64 = 50_000;

/// Key and payload of a record by its number.
pub(crate) fn record(number: u64) -> Result<(String, Vec<u8>)> {
    let body = format!("{:08}", number % KEYS);
    let code = OrganisationCode::from_body(&body)
        .and_then(|organisation| Uscc::compose("91", "330106", &organisation))
        .map_err(|reason| format!("{body}: {reason:?}"))?;
    let key = code.as_str().to_owned();
    let payload = format!(
        r#"{{"unified_social_credit_code":"{key}","name":"杭州数桥示例科技有限公司","registered_capital":{{"amount":"{}.000000","unit":"万元","currency":"CNY"}},"established_on":"2016-02-29","status":"1","valid_from":"2016-02-29","valid_to":"长期","region":"330106"}}"#,
        100 + number % 900
    );
    Ok((key, payload.into_bytes()))
}

/// A batch of records with consecutive sequences from `first` (counted from 1).
pub(crate) fn batch(batch_id: u64, first: u64, records: u64) -> Result<PublishBatch> {
    let records = (first..first + records)
        .map(|sequence| {
            let (key, payload) = record(sequence)?;
            Ok(PublishRecord {
                sequence,
                key,
                operation: Operation::Upsert.into(),
                source_version: sequence,
                payload: payload.into(),
            })
        })
        .collect::<Result<_>>()?;
    Ok(PublishBatch { batch_id, record_type: "enterprise/v1".to_owned(), records })
}
