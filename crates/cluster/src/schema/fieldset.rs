//! Sets of fields (`FieldsV1`) and how they are drawn from objects.
