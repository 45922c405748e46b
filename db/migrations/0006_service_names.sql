DROP INDEX "idx_service_platform_tenant_service";--> statement-breakpoint
CREATE INDEX "idx_service_platform_tenant_service" ON "service_platforms" USING btree ("tenant_id","service_name");