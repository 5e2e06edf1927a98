//! What is checked of secondary indexes, and their definitions as a request gives them.
//!
//! Source: texts and order as observed by dynalite's tests (createTable, updateTable) and by the DynamoDB quirks of AWS
//! Controllers for Kubernetes (October 2026).

use std::collections::BTreeSet;

use headwater_api::Error;
use headwater_api::dynamodb::{
    AttributeDefinition, BillingMode, CreateTableInput, GlobalSecondaryIndex, GlobalSecondaryIndexUpdate,
    KeySchemaElement, KeyType, LocalSecondaryIndex, OnDemandThroughput, Projection, ProjectionType,
    ProvisionedThroughput, WarmThroughput,
};
use headwater_catalog::{
    AttributeDefinition as Attribute, BillingMode as Billing, IndexDefinition, IndexKind, KeyAttribute, Projected,
    Throughput,
};

use super::index_description::warm_units;
use super::recorded::{self, Of, Units};
use super::validation::{bounds, defined, invalid, names, order};

/// Source: "Service quotas", DynamoDB developer guide.
pub(super) const GLOBAL_INDEXES_MAX: usize = 20;
/// Source: "Service quotas", DynamoDB developer guide.
const LOCAL_INDEXES_MAX: usize = 5;
/// Names in NonKeyAttributes of all indexes of a table together. Source: "Service quotas", DynamoDB developer guide.
const PROJECTED_MAX: usize = 100;
/// Key attributes of one kind in a global index. Source: "Multi-attribute keys", DynamoDB developer guide.
const INDEX_KEYS_MAX: usize = 4;

/// Checks the indexes of a new table.
///
/// Errors: ValidationException, the first rule that is broken.
pub(super) fn create(
    input: &CreateTableInput,
    definitions: &[AttributeDefinition],
    keys: &[KeySchemaElement],
) -> Result<(), Error> {
    let (local, global) = (&input.local_secondary_indexes, &input.global_secondary_indexes);
    if local.is_none() && global.is_none() {
        if keys.len() != definitions.len() {
            return invalid(
                "Number of attributes in KeySchema does not exactly match number of attributes defined in \
                 AttributeDefinitions",
            );
        }
        return Ok(());
    }
    let mut used: Vec<&KeySchemaElement> = keys.iter().collect();
    if let Some(local) = local {
        local_keys(local, definitions, keys)?;
        used.extend(local.iter().flat_map(|index| &index.key_schema));
    }
    if let Some(global) = global {
        global_keys(global, definitions)?;
        used.extend(global.iter().flat_map(|index| &index.key_schema));
    }
    // Definitions that nothing uses come before all else that is wrong with an index (observed: DDB-TABLE-127).
    let used: BTreeSet<&String> = used.into_iter().map(|key| &key.attribute_name).collect();
    if used.len() != definitions.len() {
        return invalid(format!(
            "Some AttributeDefinitions are not used. AttributeDefinitions: [{}], keys used: [{}]",
            names(definitions.iter().map(|definition| &definition.attribute_name)),
            names(used)
        ));
    }
    let mut index_names = BTreeSet::new();
    local_indexes(local.as_deref().unwrap_or_default(), &mut index_names)?;
    global_indexes(input, global.as_deref().unwrap_or_default(), &mut index_names)?;
    let local = local.iter().flatten().map(|index| &index.projection);
    let global = global.iter().flatten().map(|index| &index.projection);
    projected_in_all(
        local.chain(global).map(|projection| projection.non_key_attributes.as_ref().map_or(0, Vec::len)).sum(),
    )
}

/// Names in NonKeyAttributes of all indexes of a table together. Text unverified.
pub(super) fn projected_in_all(names: usize) -> Result<(), Error> {
    if names > PROJECTED_MAX {
        return invalid(format!(
            "Number of NonKeyAttributes of all indexes exceeds the per-table limit of {PROJECTED_MAX}"
        ));
    }
    Ok(())
}

/// The indexes of a checked request.
pub(super) fn defined_all(
    local: &[LocalSecondaryIndex],
    global: &[GlobalSecondaryIndex],
    attributes: &[Attribute],
    billing: Billing,
) -> Result<Vec<IndexDefinition>, Error> {
    let mut indexes = Vec::with_capacity(local.len() + global.len());
    for index in local {
        indexes.push(definition(
            &index.index_name,
            IndexKind::Local,
            &index.key_schema,
            &index.projection,
            attributes,
        )?);
    }
    for index in global {
        let (keys, projection) = (&index.key_schema, &index.projection);
        let mut made = definition(&index.index_name, IndexKind::Global, keys, projection, attributes)?;
        let given = Settings {
            throughput: index.provisioned_throughput.as_ref(),
            on_demand: index.on_demand_throughput.as_ref(),
            warm: index.warm_throughput.as_ref(),
        };
        given.of_new(&mut made, billing)?;
        indexes.push(made);
    }
    Ok(indexes)
}

/// An index as a request defines it.
pub(super) fn definition(
    name: &str,
    kind: IndexKind,
    keys: &[KeySchemaElement],
    projection: &Projection,
    attributes: &[Attribute],
) -> Result<IndexDefinition, Error> {
    let (mut hash, mut range) = (Vec::new(), Vec::new());
    for key in keys {
        let attribute = attributes.iter().find(|attribute| attribute.name == key.attribute_name);
        let attribute =
            attribute.ok_or_else(|| Error::internal("an index key without definition passed the checks"))?;
        let part = KeyAttribute { name: attribute.name.clone(), kind: attribute.kind };
        if key.key_type == KeyType::Hash { hash.push(part) } else { range.push(part) }
    }
    let mut index = IndexDefinition::new(name, kind, hash, range);
    index.projected = match projection.projection_type {
        Some(ProjectionType::KeysOnly) => Projected::KeysOnly,
        Some(ProjectionType::Include) => Projected::Include(projection.non_key_attributes.clone().unwrap_or_default()),
        Some(ProjectionType::All) | None => Projected::All,
    };
    Ok(index)
}

/// What a request says of an index's throughput; what is absent stays as it is.
pub(super) struct Settings<'a> {
    pub throughput: Option<&'a ProvisionedThroughput>,
    pub on_demand: Option<&'a OnDemandThroughput>,
    pub warm: Option<&'a WarmThroughput>,
}

impl Settings<'_> {
    /// Sets up a new index.
    ///
    /// Errors: ValidationException for request units out of range, and for less warmth than an index has anyway.
    pub fn of_new(&self, index: &mut IndexDefinition, billing: Billing) -> Result<(), Error> {
        self.take_throughput(index);
        let of = Of::Index(&index.name);
        recorded::on_demand_form(self.on_demand, billing, true, of)?;
        recorded::on_demand(&mut index.recorded, self.on_demand);
        let units = warm_units(billing, index);
        recorded::warm_of_new(&mut index.recorded, units, self.warm, billing, of)
    }

    /// Changes an index that has been warm for so much.
    ///
    /// Errors: ValidationException for request units out of range, and for warmth that would fall.
    pub fn change(&self, index: &mut IndexDefinition, warm_for: Units, billing: Billing) -> Result<(), Error> {
        self.take_throughput(index);
        let of = Of::Index(&index.name);
        recorded::on_demand_form(self.on_demand, billing, false, of)?;
        recorded::on_demand(&mut index.recorded, self.on_demand);
        let now = warm_units(billing, index);
        recorded::stay_warm(&mut index.recorded, now, warm_for);
        let now = warm_units(billing, index);
        recorded::warm(&mut index.recorded, now, self.warm, of)
    }

    fn take_throughput(&self, index: &mut IndexDefinition) {
        if let Some(given) = self.throughput {
            index.throughput =
                Throughput { read_units: given.read_capacity_units, write_units: given.write_capacity_units };
        }
    }
}

/// Checks the form of a table's index changes.
pub(super) fn update(updates: &[GlobalSecondaryIndexUpdate]) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    for update in updates {
        let name = match (&update.update, &update.create, &update.delete) {
            (Some(update), None, None) => &update.index_name,
            (None, Some(create), None) => &create.index_name,
            (None, None, Some(delete)) => &delete.index_name,
            (None, None, None) => {
                return invalid(
                    "One of GlobalSecondaryIndexUpdate.Update, GlobalSecondaryIndexUpdate.Create, \
                     GlobalSecondaryIndexUpdate.Delete must not be null",
                );
            }
            _ => {
                return invalid(
                    "Only one global secondary index action is allowed per GlobalSecondaryIndexUpdate object",
                );
            }
        };
        if !seen.insert(name) {
            return invalid(format!(
                "Only one global secondary index update per index is allowed simultaneously. Index: {name}"
            ));
        }
    }
    Ok(())
}

fn local_keys(
    local: &[LocalSecondaryIndex],
    definitions: &[AttributeDefinition],
    keys: &[KeySchemaElement],
) -> Result<(), Error> {
    if local.is_empty() {
        return invalid("List of LocalSecondaryIndexes is empty");
    }
    let Some((hash, Some(_))) = keys.first().map(|hash| (&hash.attribute_name, keys.get(1))) else {
        return invalid(
            "Table KeySchema does not have a range key, which is required when specifying a LocalSecondaryIndex",
        );
    };
    for index in local {
        defined(definitions, &index.key_schema)?;
        order(&index.key_schema)?;
        let name = &index.index_name;
        if index.key_schema.len() != 2 {
            return invalid(format!("Index KeySchema does not have a range key for index: {name}"));
        }
        let leading = index.key_schema.first().map_or("", |key| key.attribute_name.as_str());
        if leading != hash {
            return invalid(format!(
                "Index KeySchema does not have the same leading hash key as table KeySchema for index: {name}. index hash \
                 key: {leading}, table hash key: {hash}"
            ));
        }
    }
    Ok(())
}

fn global_keys(global: &[GlobalSecondaryIndex], definitions: &[AttributeDefinition]) -> Result<(), Error> {
    if global.is_empty() {
        return invalid("List of GlobalSecondaryIndexes is empty");
    }
    global.iter().try_for_each(|index| {
        defined(definitions, &index.key_schema)?;
        global_order(&index.key_schema)
    })
}

fn local_indexes<'i>(local: &'i [LocalSecondaryIndex], index_names: &mut BTreeSet<&'i str>) -> Result<(), Error> {
    for index in local {
        projection(&index.projection)?;
        unique(&index.index_name, index_names)?;
    }
    if local.len() > LOCAL_INDEXES_MAX {
        return invalid(format!("Number of LocalSecondaryIndexes exceeds per-table limit of {LOCAL_INDEXES_MAX}"));
    }
    Ok(())
}

fn global_indexes<'i>(
    input: &CreateTableInput,
    global: &'i [GlobalSecondaryIndex],
    index_names: &mut BTreeSet<&'i str>,
) -> Result<(), Error> {
    let on_demand = input.billing_mode == Some(BillingMode::PayPerRequest);
    for index in global {
        let name = &index.index_name;
        projection(&index.projection)?;
        unique(name, index_names)?;
        match &index.provisioned_throughput {
            Some(_) if on_demand => {
                return invalid(format!(
                    "ProvisionedThroughput should not be specified for index: {name} when BillingMode is PAY_PER_REQUEST"
                ));
            }
            None if !on_demand => {
                return invalid(format!("ProvisionedThroughput is not specified for index: {name}"));
            }
            given => bounds(given.as_ref())?,
        }
    }
    if global.len() > GLOBAL_INDEXES_MAX {
        return invalid(format!("GlobalSecondaryIndex count exceeds the per-table limit of {GLOBAL_INDEXES_MAX}"));
    }
    Ok(())
}

/// A global index may have several key attributes of each kind.
/// Source: "Multi-attribute keys", DynamoDB developer guide (November 2025).
pub(super) fn global_order(keys: &[KeySchemaElement]) -> Result<(), Error> {
    let hashes = keys.iter().filter(|key| key.key_type == KeyType::Hash).count();
    if hashes < 2 && keys.len() < 3 {
        return order(keys);
    }
    let names: BTreeSet<&String> = keys.iter().map(|key| &key.attribute_name).collect();
    if names.len() != keys.len() {
        return Err(Error::validation("The KeySchema contains multiple key attributes with the same name"));
    }
    if keys.iter().skip(hashes).any(|key| key.key_type == KeyType::Hash) {
        return invalid("All HASH key attributes must precede RANGE key attributes in the KeySchema");
    }
    for (kind, count) in [("HASH", hashes), ("RANGE", keys.len() - hashes)] {
        if count > INDEX_KEYS_MAX {
            return invalid(format!("The KeySchema exceeds the maximum allowed number of {kind} key attributes"));
        }
    }
    Ok(())
}

pub(super) fn projection(projection: &Projection) -> Result<(), Error> {
    let attributes = projection.non_key_attributes.as_deref();
    match (projection.projection_type, attributes) {
        (None, _) => invalid("Unknown ProjectionType: null"),
        (Some(ProjectionType::Include), None) => {
            invalid("ProjectionType is INCLUDE, but NonKeyAttributes is not specified")
        }
        (Some(ProjectionType::Include), Some(attributes)) => {
            let mut seen = BTreeSet::new();
            match attributes.iter().find(|name| !seen.insert(*name)) {
                Some(twice) => invalid(format!("Duplicate element in NonKeyAttributes: {twice}")),
                None => Ok(()),
            }
        }
        (Some(kind @ (ProjectionType::All | ProjectionType::KeysOnly)), Some(_)) => {
            invalid(format!("ProjectionType is {}, but NonKeyAttributes is specified", kind.as_str()))
        }
        (Some(ProjectionType::All | ProjectionType::KeysOnly), None) => Ok(()),
    }
}

fn unique<'i>(name: &'i str, index_names: &mut BTreeSet<&'i str>) -> Result<(), Error> {
    if index_names.insert(name) { Ok(()) } else { invalid(format!("Duplicate index name: {name}")) }
}
