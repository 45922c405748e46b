DROP INDEX "idx_idempotency_keys_expires_at";--> statement-breakpoint
DROP INDEX "idx_oauth_flows_expires_at";--> statement-breakpoint
CREATE INDEX "idx_idempotency_keys_expires_at" ON "idempotency_keys" USING btree ("expires_at");--> statement-breakpoint
CREATE INDEX "idx_oauth_flows_expires_at" ON "oauth_flows" USING btree ("expires_at");