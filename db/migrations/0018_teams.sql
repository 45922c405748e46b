CREATE TABLE "channel_updates" (
	"tenant_id" uuid NOT NULL,
	"id" uuid NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"schema_version" smallint DEFAULT 1 NOT NULL,
	"channel_id" uuid NOT NULL,
	"update_key" text NOT NULL,
	"chat_key" text NOT NULL,
	"position" text NOT NULL,
	"payload" jsonb NOT NULL,
	"state" text DEFAULT 'received' NOT NULL,
	"attempts" integer DEFAULT 0 NOT NULL,
	"due_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"holder" uuid,
	"held_until" timestamp (3) with time zone,
	"reply" jsonb,
	"sent_parts" integer DEFAULT 0 NOT NULL,
	"failure" text,
	CONSTRAINT "channel_updates_tenant_id_id_pk" PRIMARY KEY("tenant_id","id"),
	CONSTRAINT "idx_channel_updates_update_key" UNIQUE("tenant_id","channel_id","update_key")
);
--> statement-breakpoint
ALTER TABLE "channel_updates" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
CREATE TABLE "channels" (
	"tenant_id" uuid NOT NULL,
	"id" uuid NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"schema_version" smallint DEFAULT 1 NOT NULL,
	"is_active" boolean DEFAULT true NOT NULL,
	"team_id" uuid NOT NULL,
	"kind" text NOT NULL,
	"name" text NOT NULL,
	"token" "sealed",
	"token_fingerprint" text,
	"secret" "sealed" NOT NULL,
	"api_root" text NOT NULL,
	"bot_name" text,
	CONSTRAINT "channels_tenant_id_id_pk" PRIMARY KEY("tenant_id","id")
);
--> statement-breakpoint
ALTER TABLE "channels" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
CREATE TABLE "chat_sessions" (
	"tenant_id" uuid NOT NULL,
	"id" uuid NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"schema_version" smallint DEFAULT 1 NOT NULL,
	"team_id" uuid NOT NULL,
	"platform" text NOT NULL,
	"user_id" text NOT NULL,
	"key_family_id" uuid,
	"current_model" text,
	"total_message_count" integer DEFAULT 0 NOT NULL,
	"last_activity_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"turn_id" uuid,
	"turn_until" timestamp (3) with time zone,
	CONSTRAINT "chat_sessions_tenant_id_id_pk" PRIMARY KEY("tenant_id","id"),
	CONSTRAINT "idx_chat_sessions_user" UNIQUE("tenant_id","team_id","platform","user_id")
);
--> statement-breakpoint
ALTER TABLE "chat_sessions" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
CREATE TABLE "messages" (
	"tenant_id" uuid NOT NULL,
	"id" uuid NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"schema_version" smallint DEFAULT 1 NOT NULL,
	"session_id" uuid NOT NULL,
	"role" text NOT NULL,
	"content" text NOT NULL,
	"model" text,
	"is_partial" boolean DEFAULT false NOT NULL,
	"cleared_at" timestamp (3) with time zone,
	CONSTRAINT "messages_tenant_id_id_pk" PRIMARY KEY("tenant_id","id")
) PARTITION BY RANGE ("id");
--> statement-breakpoint
ALTER TABLE "messages" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
CREATE TABLE "model_prices" (
	"id" uuid NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"schema_version" smallint DEFAULT 1 NOT NULL,
	"model" text NOT NULL,
	"input_micros" bigint NOT NULL,
	"output_micros" bigint NOT NULL,
	"currency" text DEFAULT 'USD' NOT NULL,
	"starts_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "model_prices_id_pk" PRIMARY KEY("id")
);
--> statement-breakpoint
ALTER TABLE "model_prices" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
CREATE TABLE "platform_configs" (
	"id" uuid NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"schema_version" smallint DEFAULT 1 NOT NULL,
	"platform_type" text NOT NULL,
	"default_model" text NOT NULL,
	"available_models" text[] DEFAULT '{}'::text[] NOT NULL,
	"rate_limit" integer NOT NULL,
	"max_history" integer NOT NULL,
	"allow_model_switch" boolean NOT NULL,
	"requires_auth" boolean NOT NULL,
	"commands" text[] DEFAULT '{}'::text[] NOT NULL,
	CONSTRAINT "platform_configs_id_pk" PRIMARY KEY("id")
);
--> statement-breakpoint
ALTER TABLE "platform_configs" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
CREATE TABLE "quota_counters" (
	"tenant_id" uuid NOT NULL,
	"team_id" uuid NOT NULL,
	"period" text NOT NULL,
	"starts_on" date NOT NULL,
	"admitted" bigint DEFAULT 0 NOT NULL,
	"settled" bigint DEFAULT 0 NOT NULL,
	CONSTRAINT "quota_counters_tenant_id_team_id_period_starts_on_pk" PRIMARY KEY("tenant_id","team_id","period","starts_on")
);
--> statement-breakpoint
ALTER TABLE "quota_counters" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
CREATE TABLE "quota_leases" (
	"tenant_id" uuid NOT NULL,
	"id" uuid NOT NULL,
	"team_id" uuid NOT NULL,
	"api_key_id" uuid,
	"session_id" uuid,
	"user_id" text,
	"endpoint" text NOT NULL,
	"model" text NOT NULL,
	"input_tokens" integer NOT NULL,
	"request_id" text NOT NULL,
	"day_on" date NOT NULL,
	"month_on" date NOT NULL,
	"admitted_at" timestamp with time zone DEFAULT now() NOT NULL,
	"expires_at" timestamp (3) with time zone NOT NULL,
	CONSTRAINT "quota_leases_tenant_id_id_pk" PRIMARY KEY("tenant_id","id")
);
--> statement-breakpoint
ALTER TABLE "quota_leases" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
CREATE TABLE "teams" (
	"tenant_id" uuid NOT NULL,
	"id" uuid NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"schema_version" smallint DEFAULT 1 NOT NULL,
	"is_active" boolean DEFAULT true NOT NULL,
	"metadata" jsonb DEFAULT '{}'::jsonb NOT NULL,
	"platform_name" text NOT NULL,
	"display_name" text NOT NULL,
	"platform_type" text DEFAULT 'private' NOT NULL,
	"monthly_quota" integer,
	"daily_quota" integer,
	"rate_limit" integer,
	"max_history" integer,
	"default_model" text,
	"available_models" text[],
	"allow_model_switch" boolean,
	CONSTRAINT "teams_tenant_id_id_pk" PRIMARY KEY("tenant_id","id"),
	CONSTRAINT "teams_rate_limit" CHECK (rate_limit between 1 and 1000),
	CONSTRAINT "teams_max_history" CHECK (max_history between 1 and 100),
	CONSTRAINT "teams_quotas" CHECK (daily_quota >= 0 and monthly_quota >= 0)
);
--> statement-breakpoint
ALTER TABLE "teams" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
CREATE TABLE "upstreams" (
	"tenant_id" uuid NOT NULL,
	"id" uuid NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"schema_version" smallint DEFAULT 1 NOT NULL,
	"is_active" boolean DEFAULT true NOT NULL,
	"name" text NOT NULL,
	"model_prefix" text NOT NULL,
	"strips_prefix" boolean DEFAULT false NOT NULL,
	"base_url" text NOT NULL,
	"api_key" "sealed",
	"api_key_fingerprint" text,
	"timeout_ms" integer DEFAULT 60000 NOT NULL,
	"idle_ms" integer DEFAULT 60000 NOT NULL,
	"max_attempts" integer DEFAULT 2 NOT NULL,
	"fallback_models" text[] DEFAULT '{}'::text[] NOT NULL,
	CONSTRAINT "upstreams_tenant_id_id_pk" PRIMARY KEY("tenant_id","id")
);
--> statement-breakpoint
ALTER TABLE "upstreams" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
CREATE TABLE "usage_days" (
	"tenant_id" uuid NOT NULL,
	"id" uuid NOT NULL,
	"team_id" uuid NOT NULL,
	"day_on" date NOT NULL,
	"model" text NOT NULL,
	"api_key_id" uuid,
	"user_id" text,
	"requests" bigint NOT NULL,
	"errors" bigint NOT NULL,
	"input_tokens" bigint NOT NULL,
	"output_tokens" bigint NOT NULL,
	"cost_micros" numeric(30, 6) NOT NULL,
	"unpriced" bigint NOT NULL,
	"timed" bigint NOT NULL,
	"latency_ms" bigint NOT NULL,
	"max_latency_ms" integer NOT NULL,
	CONSTRAINT "usage_days_tenant_id_id_pk" PRIMARY KEY("tenant_id","id"),
	CONSTRAINT "idx_usage_days_sum" UNIQUE NULLS NOT DISTINCT("tenant_id","team_id","day_on","model","api_key_id","user_id")
);
--> statement-breakpoint
ALTER TABLE "usage_days" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
CREATE TABLE "usage_logs" (
	"tenant_id" uuid NOT NULL,
	"id" uuid NOT NULL,
	"created_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"updated_at" timestamp (3) with time zone DEFAULT now() NOT NULL,
	"schema_version" smallint DEFAULT 1 NOT NULL,
	"team_id" uuid NOT NULL,
	"api_key_id" uuid,
	"session_id" uuid,
	"user_id" text,
	"endpoint" text NOT NULL,
	"model" text NOT NULL,
	"requested_model" text NOT NULL,
	"outcome" text NOT NULL,
	"status" integer,
	"attempts" integer NOT NULL,
	"input_tokens" integer NOT NULL,
	"output_tokens" integer NOT NULL,
	"usage_source" text NOT NULL,
	"cost_micros" numeric(24, 6),
	"latency_ms" integer,
	"first_byte_ms" integer,
	"is_streamed" boolean NOT NULL,
	"request_id" text NOT NULL,
	"day_on" date NOT NULL,
	CONSTRAINT "usage_logs_tenant_id_id_pk" PRIMARY KEY("tenant_id","id")
) PARTITION BY RANGE ("id");
--> statement-breakpoint
ALTER TABLE "usage_logs" ENABLE ROW LEVEL SECURITY;--> statement-breakpoint
ALTER TABLE "api_keys" ALTER COLUMN "owner_user_id" DROP NOT NULL;--> statement-breakpoint
ALTER TABLE "api_keys" ADD COLUMN "team_id" uuid;--> statement-breakpoint
ALTER TABLE "api_keys" ADD COLUMN "family_id" uuid;--> statement-breakpoint
ALTER TABLE "api_keys" ADD COLUMN "created_by" uuid;--> statement-breakpoint
ALTER TABLE "channel_updates" ADD CONSTRAINT "channel_updates_tenant_id_channel_id_channels_tenant_id_id_fk" FOREIGN KEY ("tenant_id","channel_id") REFERENCES "public"."channels"("tenant_id","id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "channels" ADD CONSTRAINT "channels_tenant_id_team_id_teams_tenant_id_id_fk" FOREIGN KEY ("tenant_id","team_id") REFERENCES "public"."teams"("tenant_id","id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "chat_sessions" ADD CONSTRAINT "chat_sessions_tenant_id_team_id_teams_tenant_id_id_fk" FOREIGN KEY ("tenant_id","team_id") REFERENCES "public"."teams"("tenant_id","id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "messages" ADD CONSTRAINT "messages_tenant_id_session_id_chat_sessions_tenant_id_id_fk" FOREIGN KEY ("tenant_id","session_id") REFERENCES "public"."chat_sessions"("tenant_id","id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "quota_counters" ADD CONSTRAINT "quota_counters_tenant_id_team_id_teams_tenant_id_id_fk" FOREIGN KEY ("tenant_id","team_id") REFERENCES "public"."teams"("tenant_id","id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "quota_leases" ADD CONSTRAINT "quota_leases_tenant_id_team_id_teams_tenant_id_id_fk" FOREIGN KEY ("tenant_id","team_id") REFERENCES "public"."teams"("tenant_id","id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "teams" ADD CONSTRAINT "teams_tenant_id_tenants_id_fk" FOREIGN KEY ("tenant_id") REFERENCES "public"."tenants"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "upstreams" ADD CONSTRAINT "upstreams_tenant_id_tenants_id_fk" FOREIGN KEY ("tenant_id") REFERENCES "public"."tenants"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "usage_days" ADD CONSTRAINT "usage_days_tenant_id_team_id_teams_tenant_id_id_fk" FOREIGN KEY ("tenant_id","team_id") REFERENCES "public"."teams"("tenant_id","id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "usage_logs" ADD CONSTRAINT "usage_logs_tenant_id_team_id_teams_tenant_id_id_fk" FOREIGN KEY ("tenant_id","team_id") REFERENCES "public"."teams"("tenant_id","id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "idx_channel_updates_chat" ON "channel_updates" USING btree ("tenant_id","channel_id","chat_key","position") WHERE state = 'received';--> statement-breakpoint
CREATE INDEX "idx_channel_updates_due_at" ON "channel_updates" USING btree ("due_at") WHERE state = 'received';--> statement-breakpoint
CREATE UNIQUE INDEX "idx_channels_id" ON "channels" USING btree ("id");--> statement-breakpoint
CREATE INDEX "idx_channels_team_id" ON "channels" USING btree ("tenant_id","team_id","id");--> statement-breakpoint
CREATE INDEX "idx_chat_sessions_team_id" ON "chat_sessions" USING btree ("tenant_id","team_id","id");--> statement-breakpoint
CREATE INDEX "idx_messages_session_id" ON "messages" USING btree ("tenant_id","session_id","id");--> statement-breakpoint
CREATE INDEX "idx_messages_uncleared" ON "messages" USING btree ("tenant_id","session_id","id") WHERE cleared_at is null;--> statement-breakpoint
CREATE UNIQUE INDEX "idx_model_prices_model" ON "model_prices" USING btree ("model","starts_at");--> statement-breakpoint
CREATE UNIQUE INDEX "idx_platform_configs_platform_type" ON "platform_configs" USING btree ("platform_type");--> statement-breakpoint
CREATE INDEX "idx_quota_leases_expires_at" ON "quota_leases" USING btree ("expires_at");--> statement-breakpoint
CREATE INDEX "idx_quota_leases_team_id" ON "quota_leases" USING btree ("tenant_id","team_id");--> statement-breakpoint
CREATE UNIQUE INDEX "ix_teams_platform_name" ON "teams" USING btree (lower(platform_name));--> statement-breakpoint
CREATE UNIQUE INDEX "ix_teams_display_name" ON "teams" USING btree ("tenant_id","display_name");--> statement-breakpoint
CREATE INDEX "ix_teams_platform_type" ON "teams" USING btree ("tenant_id","platform_type");--> statement-breakpoint
CREATE UNIQUE INDEX "idx_upstreams_model_prefix" ON "upstreams" USING btree ("tenant_id","model_prefix") WHERE is_active;--> statement-breakpoint
CREATE INDEX "idx_usage_days_day_on" ON "usage_days" USING btree ("tenant_id","day_on");--> statement-breakpoint
CREATE INDEX "idx_usage_logs_team_id" ON "usage_logs" USING btree ("tenant_id","team_id","id");--> statement-breakpoint
CREATE INDEX "idx_usage_logs_session_id" ON "usage_logs" USING btree ("tenant_id","session_id","id");--> statement-breakpoint
ALTER TABLE "api_keys" ADD CONSTRAINT "api_keys_tenant_id_team_id_teams_tenant_id_id_fk" FOREIGN KEY ("tenant_id","team_id") REFERENCES "public"."teams"("tenant_id","id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "idx_api_keys_team_id" ON "api_keys" USING btree ("tenant_id","team_id","id");--> statement-breakpoint
ALTER TABLE "api_keys" ADD CONSTRAINT "api_keys_one_holder" CHECK ((owner_user_id is null) <> (team_id is null));--> statement-breakpoint
ALTER TABLE "api_keys" ADD CONSTRAINT "api_keys_family" CHECK ((family_id is null) = (team_id is null));--> statement-breakpoint
CREATE POLICY "tenant_only" ON "channel_updates" AS PERMISSIVE FOR ALL TO public USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);--> statement-breakpoint
CREATE POLICY "tenant_only" ON "channels" AS PERMISSIVE FOR ALL TO public USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);--> statement-breakpoint
CREATE POLICY "tenant_only" ON "chat_sessions" AS PERMISSIVE FOR ALL TO public USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);--> statement-breakpoint
CREATE POLICY "tenant_only" ON "messages" AS PERMISSIVE FOR ALL TO public USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);--> statement-breakpoint
CREATE POLICY "catalogue_read" ON "model_prices" AS PERMISSIVE FOR SELECT TO public USING (true);--> statement-breakpoint
CREATE POLICY "catalogue_write" ON "model_prices" AS PERMISSIVE FOR ALL TO public USING (nullif(current_setting('app.tenant_id', true), '')::uuid = '00000000-0000-7000-8000-000000000001'::uuid) WITH CHECK (nullif(current_setting('app.tenant_id', true), '')::uuid = '00000000-0000-7000-8000-000000000001'::uuid);--> statement-breakpoint
CREATE POLICY "catalogue_read" ON "platform_configs" AS PERMISSIVE FOR SELECT TO public USING (true);--> statement-breakpoint
CREATE POLICY "catalogue_write" ON "platform_configs" AS PERMISSIVE FOR ALL TO public USING (nullif(current_setting('app.tenant_id', true), '')::uuid = '00000000-0000-7000-8000-000000000001'::uuid) WITH CHECK (nullif(current_setting('app.tenant_id', true), '')::uuid = '00000000-0000-7000-8000-000000000001'::uuid);--> statement-breakpoint
CREATE POLICY "tenant_only" ON "quota_counters" AS PERMISSIVE FOR ALL TO public USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);--> statement-breakpoint
CREATE POLICY "tenant_only" ON "quota_leases" AS PERMISSIVE FOR ALL TO public USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);--> statement-breakpoint
CREATE POLICY "tenant_only" ON "teams" AS PERMISSIVE FOR ALL TO public USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);--> statement-breakpoint
CREATE POLICY "tenant_only" ON "upstreams" AS PERMISSIVE FOR ALL TO public USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);--> statement-breakpoint
CREATE POLICY "tenant_only" ON "usage_days" AS PERMISSIVE FOR ALL TO public USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);--> statement-breakpoint
CREATE POLICY "tenant_only" ON "usage_logs" AS PERMISSIVE FOR ALL TO public USING (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid) WITH CHECK (tenant_id = nullif(current_setting('app.tenant_id', true), '')::uuid);