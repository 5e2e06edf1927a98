//! Backups, point-in-time recovery, export, import: this version makes none, and says so truthfully.
//!
//! Source: observations of the service in AWS Controllers for Kubernetes (DynamoDB quirks, October 2026: DDB-TABLE-014,
//! DDB-TABLE-098, DDB-TABLE-115, DDB-TABLE-442).

use headwater_api::dynamodb as api;
use headwater_api::dynamodb::{access, errors};
use headwater_api::{Call, Error};

use super::table::invalid;
use super::{error, name};
use crate::service::Operations;

/// DescribeContinuousBackups: none are kept. The service shows its own as ENABLED at all times.
pub(crate) async fn describe_continuous(
    service: &Operations,
    call: &Call,
    input: api::DescribeContinuousBackupsInput,
) -> Result<api::DescribeContinuousBackupsOutput, Error> {
    let table = name::table(call, &input.table_name)?;
    call.authorize(&access::describe_continuous_backups(call, &input))?;
    exists(service, call, &table)?;
    Ok(api::DescribeContinuousBackupsOutput { continuous_backups_description: Some(none_kept()) })
}

/// UpdateContinuousBackups: switching point-in-time recovery off changes nothing; switching it on is refused.
pub(crate) async fn update_continuous(
    service: &Operations,
    call: &Call,
    input: api::UpdateContinuousBackupsInput,
) -> Result<api::UpdateContinuousBackupsOutput, Error> {
    let table = name::table(call, &input.table_name)?;
    let wanted = &input.point_in_time_recovery_specification;
    if !wanted.point_in_time_recovery_enabled && wanted.recovery_period_in_days.is_some() {
        return Err(Error::validation(
            "Invalid Request: Cannot specify RecoveryPeriodInDays when disabling point-in-time recovery.",
        ));
    }
    call.authorize(&access::update_continuous_backups(call, &input))?;
    exists(service, call, &table)?;
    if wanted.point_in_time_recovery_enabled {
        return Err(Error::validation("This server does not support point-in-time recovery yet"));
    }
    Ok(api::UpdateContinuousBackupsOutput { continuous_backups_description: Some(none_kept()) })
}

/// ListBackups: there are none, of a table that does not exist either.
pub(crate) async fn list(call: &Call, input: api::ListBackupsInput) -> Result<api::ListBackupsOutput, Error> {
    if let Some(table) = &input.table_name {
        name::table(call, table)?;
    }
    if let (Some(lower), Some(upper)) = (input.time_range_lower_bound, input.time_range_upper_bound)
        && lower > upper
    {
        return invalid("Time range lower bound must be less than or equal to upper bound");
    }
    call.authorize(&access::list_backups(call, &input))?;
    Ok(api::ListBackupsOutput { backup_summaries: Some(Vec::new()), last_evaluated_backup_arn: None })
}

/// DescribeBackup: there are none.
pub(crate) async fn describe(call: &Call, input: api::DescribeBackupInput) -> Result<api::DescribeBackupOutput, Error> {
    form(&input.backup_arn, "backup", "Invalid Backup ARN")?;
    call.authorize(&access::describe_backup(call, &input))?;
    Err(errors::backup_not_found(format!("Backup not found: {}", input.backup_arn)))
}

/// DeleteBackup: there are none.
pub(crate) async fn delete(call: &Call, input: api::DeleteBackupInput) -> Result<api::DeleteBackupOutput, Error> {
    form(&input.backup_arn, "backup", "Invalid Backup ARN")?;
    call.authorize(&access::delete_backup(call, &input))?;
    Err(errors::backup_not_found(format!("Backup not found: {}", input.backup_arn)))
}

/// ListExports: there are none.
pub(crate) async fn list_exports(call: &Call, input: api::ListExportsInput) -> Result<api::ListExportsOutput, Error> {
    call.authorize(&access::list_exports(call, &input))?;
    Ok(api::ListExportsOutput { export_summaries: Some(Vec::new()), next_token: None })
}

/// DescribeExport: there are none.
pub(crate) async fn describe_export(
    call: &Call,
    input: api::DescribeExportInput,
) -> Result<api::DescribeExportOutput, Error> {
    form(&input.export_arn, "export", "Invalid Export ARN")?;
    call.authorize(&access::describe_export(call, &input))?;
    Err(errors::export_not_found(format!("Export not found: {}", input.export_arn)))
}

/// ListImports: there are none.
pub(crate) async fn list_imports(call: &Call, input: api::ListImportsInput) -> Result<api::ListImportsOutput, Error> {
    call.authorize(&access::list_imports(call, &input))?;
    Ok(api::ListImportsOutput { import_summary_list: Some(Vec::new()), next_token: None })
}

/// DescribeImport: there are none.
pub(crate) async fn describe_import(
    call: &Call,
    input: api::DescribeImportInput,
) -> Result<api::DescribeImportOutput, Error> {
    form(&input.import_arn, "import", "Invalid Import ARN")?;
    call.authorize(&access::describe_import(call, &input))?;
    Err(errors::import_not_found(format!("Import not found: {}", input.import_arn)))
}

/// `{table ARN}/{kind}/{id}`.
fn form(arn: &str, kind: &str, text: &str) -> Result<(), Error> {
    let is_one = || {
        let (table, id) = arn.split_once(&format!("/{kind}/"))?;
        headwater_types::arn::TableArn::parse(table)?;
        (!id.is_empty() && !id.contains('/')).then_some(())
    };
    is_one().ok_or_else(|| Error::validation(text))
}

fn exists(service: &Operations, call: &Call, table: &str) -> Result<(), Error> {
    let catalog = service.log.catalog().map_err(error::defining)?;
    match catalog.table(&name::scope(call), table) {
        Some(_) => Ok(()),
        None => Err(errors::table_not_found(format!("Table not found: {table}"))),
    }
}

fn none_kept() -> api::ContinuousBackupsDescription {
    api::ContinuousBackupsDescription {
        continuous_backups_status: api::ContinuousBackupsStatus::Disabled,
        point_in_time_recovery_description: Some(api::PointInTimeRecoveryDescription {
            point_in_time_recovery_status: Some(api::PointInTimeRecoveryStatus::Disabled),
            ..api::PointInTimeRecoveryDescription::default()
        }),
    }
}
