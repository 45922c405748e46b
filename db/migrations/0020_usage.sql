CREATE INDEX "idx_usage_logs_outcome" ON "usage_logs" USING btree ("tenant_id","outcome","id") WHERE outcome <> 'answered';
