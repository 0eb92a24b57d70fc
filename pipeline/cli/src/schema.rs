//! `catchment schema`.

use catchment_core::Result;
use catchment_schemas::{Dataset, json_schema, reference};

use crate::args::{DatasetArg, SchemaArgs};

impl From<DatasetArg> for Dataset {
    fn from(arg: DatasetArg) -> Self {
        match arg {
            DatasetArg::Flows => Self::Flows,
            DatasetArg::Conversations => Self::Conversations,
            DatasetArg::Late => Self::Late,
            DatasetArg::Rejects => Self::Rejects,
            DatasetArg::Gaps => Self::Gaps,
            DatasetArg::Findings => Self::Findings,
        }
    }
}

pub(crate) fn schema(args: &SchemaArgs) -> Result<()> {
    match args.dataset {
        Some(dataset) => crate::emit(&crate::pretty(&json_schema::schema(dataset.into()))),
        None => crate::emit(&reference::page()),
    }
}
