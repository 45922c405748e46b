/** A time zone where it is about noon: nobody's day or month ends while a test runs. */
export function noonZone(): string {
  const west = new Date().getUTCHours() - 12;
  return `Etc/GMT${west < 0 ? west : `+${west}`}`;
}
